import { SslContext } from '../../net/native/openssl-context.ts';
import { Ssl } from '../../net/native/openssl-session.ts';
import { carry } from '../../test/support/native-tls.ts';
import type { LoadOperations } from './protocol.ts';

/** Who works when, in a handshake of TLS 1.3 in which both prove who they are; behind the last, both are done. */
const TURNS = [
  ['client', 'server'],
  ['server', 'client'],
  ['client', 'server'],
  ['server', 'client'],
] as const;

type Side = (typeof TURNS)[number][0];

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
  const make = (side: Side): Ssl => timed(side, () => new Ssl(context, side, undefined));
  try {
    for (let index = 0; index < count; index++) {
      const ends = { client: make('client'), server: make('server') };
      let result = 0;
      for (const [side, other] of TURNS) {
        result = timed(side, () => ends[side].handshake());
        carry(ends[other]);
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
