import type { WorkloadCertificate } from '../../mesh/model/certificate.ts';
import { allocateShared, viewNative } from '../../net/native/memory.ts';
import { SslContext } from '../../net/native/openssl-context.ts';
import {
  dropOutput,
  outputAddress,
  outputLength,
  Ssl,
  WANT,
} from '../../net/native/openssl-session.ts';
import type { TestCa } from './test-ca.ts';

/** Two ends in one thread that have proved each other. */
export type NativePair = Readonly<{ client: Ssl; server: Ssl }>;

/** Contexts and sessions of the native layer alone: no sockets, no reactor. */
export type NativeTls = Readonly<{
  certificate: WorkloadCertificate;
  makeContext(): SslContext;
  /** Makes one and frees it. */
  freeContext(): void;
  /** Shakes hands, and frees both ends afterwards. */
  withPair<Result>(action: (pair: NativePair) => Result): Result;
}>;

export function nativeTls(ca: TestCa): NativeTls {
  const certificate = ca.issue('spiffe://cluster.local/ns/shop/sa/web');
  const makeContext = (): SslContext =>
    new SslContext({
      ...certificate,
      alpn: ['h2'],
      groups: 'X25519',
      cipherSuites: 'TLS_AES_128_GCM_SHA256',
    });
  return {
    certificate,
    makeContext,
    freeContext() {
      makeContext().free();
    },
    withPair(action) {
      const context = makeContext();
      const client = new Ssl(context, 'client', undefined);
      const server = new Ssl(context, 'server', undefined);
      context.free();
      try {
        shakeHands(client, server);
        return action({ client, server });
      } finally {
        client.free();
        server.free();
      }
    },
  };
}

/** Carries what one end wrote to the other. */
export function carry(to: Ssl): void {
  const length = outputLength();
  if (length === 0) return;
  const bytes = allocateShared(length);
  viewNative(outputAddress(), length).copy(bytes.buffer);
  dropOutput(length);
  to.feed(bytes, 0, length);
}

function shakeHands(client: Ssl, server: Ssl): void {
  for (;;) {
    const first = client.handshake();
    carry(server);
    const second = server.handshake();
    carry(client);
    if (first === 1 && second === 1) return;
    if (![1, WANT].includes(first) || ![1, WANT].includes(second))
      throw new Error(`no handshake: ${client.failure} ${server.failure}`);
  }
}
