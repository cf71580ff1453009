import { createHash, X509Certificate } from 'node:crypto';
import type {
  GatewayListener,
  GatewayListeners,
  ListenerCertificate,
  ListenerTls,
} from '../../mesh/model/gateway-listener.ts';
import { TlsContext } from '../../net/tls-context.ts';

type Prepared = Readonly<{
  /** Reads names of the leaf; `undefined` for one that cannot be read, which fits no name. */
  leaf: X509Certificate | undefined;
  certificate: ListenerCertificate;
}>;

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

/** What each listener's protocols are agreed on as. */
const HTTP_PROTOCOLS: readonly string[] = ['h2', 'http/1.1'];

/**
 * The TLS of a gateway's listeners, in one thread. What listeners say is replaced as a whole, and contexts of what stays
 * stay too; sessions go on with the one that they began with.
 */
export class ServerTls implements Disposable {
  readonly #contexts = new Map<string, TlsContext>();
  readonly #prepared = new WeakMap<ListenerTls, readonly Prepared[]>();

  /**
   * The context for a client that asks a listener for a name.
   *
   * @throws {MeshError} ERR_CERTIFICATE for a certificate, key or root that cannot be used.
   */
  context({ serves }: GatewayListener, tls: ListenerTls, serverName: string): TlsContext {
    const { certificate } = this.#choose(tls, serverName);
    const key = contextKey(tls, certificate, serves.kind);
    let context = this.#contexts.get(key);
    if (context === undefined) {
      context = makeContext(tls, certificate, serves.kind);
      this.#contexts.set(key, context);
    }
    return context;
  }

  /** Frees what none of these listeners shows any more. */
  retain(listeners: GatewayListeners | undefined): void {
    const kept = new Set(
      (listeners?.listeners ?? []).flatMap(({ tls, serves }) =>
        tls === undefined
          ? []
          : tls.certificates.map((certificate) => contextKey(tls, certificate, serves.kind)),
      ),
    );
    for (const [key, context] of this.#contexts)
      if (!kept.has(key)) {
        this.#contexts.delete(key);
        context.free();
      }
  }

  [Symbol.dispose](): void {
    this.retain(undefined);
  }

  /** The first of those that fit the name, else the first. */
  #choose(tls: ListenerTls, serverName: string): Prepared {
    let prepared = this.#prepared.get(tls);
    if (prepared === undefined)
      this.#prepared.set(tls, (prepared = tls.certificates.map(prepareCertificate)));
    const fits = ({ leaf }: Prepared): boolean =>
      serverName !== '' && leaf?.checkHost(serverName, { subject: 'never' }) !== undefined;
    const found = prepared.find(fits) ?? prepared[0];
    if (found === undefined) throw new Error('Cannot serve TLS: a listener without certificates');
    return found;
  }
}

function prepareCertificate(certificate: ListenerCertificate): Prepared {
  try {
    return { certificate, leaf: new X509Certificate(certificate.chainPem) };
  } catch {
    return { certificate, leaf: undefined };
  }
}

function contextKey(
  { clients }: ListenerTls,
  certificate: ListenerCertificate,
  kind: GatewayListener['serves']['kind'],
): string {
  const all = [certificate.chainPem, certificate.keyPem, clients ?? {}, kind];
  return createHash('sha256').update(JSON.stringify(all)).digest('base64url');
}

function makeContext(
  { clients }: ListenerTls,
  { chainPem, keyPem }: ListenerCertificate,
  kind: GatewayListener['serves']['kind'],
): TlsContext {
  const asksClients = clients?.accepts === 'valid';
  return new TlsContext({
    chainPem: chainPem.match(CERTIFICATE) ?? [],
    privateKeyPem: keyPem,
    // Who accepts any client, also one without a certificate, does not ask for one: nothing is made of it.
    rootsPem: asksClients ? [clients.rootsPem] : [],
    verifiesPeers: asksClients,
    ...{ acceptsPartialChains: true, minimumVersion: 'TLS 1.2' },
    ...{ alpn: kind === 'http' ? HTTP_PROTOCOLS : [], alpnOptional: true },
  });
}
