import { dropOutput, outputAddress, outputLength, Ssl } from '../../net/native/openssl-session.ts';
import { SslContext } from '../../net/native/openssl-context.ts';
import { copyNative, shareBuffer } from '../../net/native/memory.ts';
import type { LoadOperations } from './protocol.ts';

/** Messages of a handshake of TLS 1.3 in which both prove who they are; behind the last, both are done. */
const FLIGHTS = ['client', 'server', 'client', 'server'] as const;

type Side = (typeof FLIGHTS)[number];

/** What OpenSSL alone needs for a new session, from its memory to the end of it: no sockets, no proxy, nothing beside it. */
export function runBareHandshakes({
  certificate,
  groups,
  count,
}: LoadOperations['bareHandshakes']['ask']): LoadOperations['bareHandshakes']['answer'] {
  const { chainPem, privateKeyPem, rootsPem } = certificate;
  const context = new SslContext({
    ...{ chainPem, privateKeyPem, rootsPem, groups },
    ...{ alpn: ['h2'], cipherSuites: 'TLS_AES_128_GCM_SHA256' },
  });
  const spentMs = { client: 0, server: 0 };
  const timed = <T>(side: Side, action: () => T): T => {
    const beganMs = performance.now();
    const result = action();
    spentMs[side] += performance.now() - beganMs;
    return result;
  };
  try {
    for (let index = 0; index < count; index++) {
      const make = (side: Side): Ssl => timed(side, () => new Ssl(context, side, undefined));
      const ends = { client: make('client'), server: make('server') };
      let message = Buffer.alloc(0);
      let result = 0;
      for (const side of FLIGHTS) {
        const shared = shareBuffer(message);
        result = timed(side, () => {
          ends[side].feed(shared, 0, message.length);
          return ends[side].handshake();
        });
        message = takeOutput();
      }
      if (result !== 1) throw new Error(`Cannot shake hands: ${ends.server.failure}`);
      for (const side of ['client', 'server'] as const)
        timed(side, () => {
          ends[side].free();
        });
    }
  } finally {
    context.free();
  }
  return { serverMs: spentMs.server / count, clientMs: spentMs.client / count };
}

function takeOutput(): Buffer<ArrayBuffer> {
  const length = outputLength();
  const bytes = Buffer.from(copyNative(outputAddress(), length));
  dropOutput(length);
  return bytes;
}
