import { experimental, type ServerCredentials } from '@grpc/grpc-js';
import { ipToBytes, parseIpAddress } from '../base/address.ts';
import type { CertificateAuthority } from './ca/authority.ts';

type IdentityListener = Parameters<
  experimental.CertificateProvider['addIdentityCertificateListener']
>[0];
type Identity = Parameters<IdentityListener>[0];

/** The control plane's own certificate, made anew when the roots change; open connections keep the one they began with. */
export class ServerCertificateSource implements experimental.CertificateProvider {
  readonly #authority: CertificateAuthority;
  readonly #dnsNames: readonly string[];
  readonly #listeners = new Set<IdentityListener>();
  #identity: Identity = null;

  constructor(authority: CertificateAuthority, rootNamespace: string) {
    this.#authority = authority;
    this.#dnsNames = serverNames(rootNamespace);
  }

  /** Credentials of a gRPC server that always shows the newest certificate; callers prove themselves by token. */
  credentials(): ServerCredentials {
    // The declaration calls the first argument the CA's, but it is the server's own identity.
    return experimental.createCertificateProviderServerCredentials(this, null, false);
  }

  async renew(): Promise<void> {
    const ips = ['127.0.0.1', '::1'].map((ip) => ipToBytes(parseIpAddress(ip)));
    const { privateKeyPem, chainPem } = await this.#authority.issueServerCertificate({
      ...{ dnsNames: this.#dnsNames, ips },
    });
    this.#identity = { certificate: Buffer.from(chainPem), privateKey: Buffer.from(privateKeyPem) };
    for (const listener of this.#listeners) listener(this.#identity);
  }

  addIdentityCertificateListener(listener: IdentityListener): void {
    this.#listeners.add(listener);
    listener(this.#identity);
  }

  removeIdentityCertificateListener(listener: IdentityListener): void {
    this.#listeners.delete(listener);
  }

  /** Client certificates are not asked for. */
  addCaCertificateListener(): void {
    return;
  }

  removeCaCertificateListener(): void {
    return;
  }
}

/** The names under which proxies dial the control plane; istio/istio has the same but for the last two. */
function serverNames(rootNamespace: string): string[] {
  const names = ['istiod', 'istiod-remote', 'istio-pilot'].map(
    (name) => `${name}.${rootNamespace}.svc`,
  );
  return [...names, 'istiod-lite', 'localhost'];
}
