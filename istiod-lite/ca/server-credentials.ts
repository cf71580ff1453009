import { experimental, type ServerCredentials } from '@grpc/grpc-js';
import { generateKeyPair } from '../../certs/keys.ts';
import type { CertificateAuthority, ServerNames } from './authority.ts';

/**
 * TLS for the control plane's gRPC server, with a certificate of its own CA that is replaced when the CA signs with
 * something else: a client that knows only the new root must find its way in, without a restart. Connections that are
 * open go on.
 */
export async function followAuthority(
  authority: CertificateAuthority,
  names: ServerNames,
): Promise<ServerCredentials> {
  const keys = await generateKeyPair();
  const listeners = new Set<experimental.IdentityCertificateUpdateListener>();
  const current = (): experimental.IdentityCertificateUpdate => {
    const { privateKeyPem, chainPem } = authority.signServerCertificate(names, keys);
    return { certificate: Buffer.from(chainPem), privateKey: Buffer.from(privateKeyPem) };
  };
  authority.subscribeMaterial(() => {
    const update = current();
    for (const listener of listeners) listener(update);
  });
  const identity: experimental.CertificateProvider = {
    addIdentityCertificateListener: (listener) => {
      listeners.add(listener);
      // grpc-js is ready to be told only after this call.
      queueMicrotask(() => {
        if (listeners.has(listener)) listener(current());
      });
    },
    removeIdentityCertificateListener: (listener) => {
      listeners.delete(listener);
    },
    addCaCertificateListener: () => undefined,
    removeCaCertificateListener: () => undefined,
  };
  // In spite of its parameters' names, grpc-js 1.14 takes the server's own certificate first, then the clients' CA.
  return experimental.createCertificateProviderServerCredentials(identity, null, false);
}
