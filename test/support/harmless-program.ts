import { parseSocketAddress } from '../../base/address.ts';
import { openTunnel } from '../../mesh/hbone/client.ts';
import { HboneSession } from '../../mesh/hbone/session.ts';
import { TlsContext } from '../../net/tls-context.ts';
import type { IdentityFiles } from './attack-processes.ts';
import { Collector } from './collect.ts';
import { SERVER } from './hbone-peer.ts';

/*
 * A client that means no harm: harmless-program.ts ADDRESS AUTHORITY [IDENTITY as JSON]
 * It keeps one tunnel and has a few bytes echoed, 400 times a second. Each line on stdin asks for the round trips since
 * the line before; the answer is one line of JSON, in milliseconds. It ends with stdin; any failure is its end, with 1.
 */

const INTERVAL_MS = 2.5;

const [address = '', authority = '', identity = ''] = process.argv.slice(2);
const { key, cert, ca } = JSON.parse(identity) as IdentityFiles;
const context = new TlsContext({ chainPem: [cert], privateKeyPem: key, rootsPem: ca });
const session = await HboneSession.open(
  parseSocketAddress(address),
  {},
  { context: () => Promise.resolve(context), peers: [SERVER], http2: {} },
);
const { stream } = await openTunnel(session, { authority, headers: [] });
const tunnel = new Collector(stream);

let waits: number[] = [];
process.stdin.on('data', () => {
  process.stdout.write(`${JSON.stringify(waits)}\n`);
  waits = [];
});
process.stdin.on('end', () => process.exit());

let received = 0;
for (;;) {
  const beganMs = performance.now();
  await tunnel.write('ping');
  received += 4;
  await tunnel.until((c) => c.received >= received || c.ended || c.error !== undefined);
  if (tunnel.received < received) process.exit(1);
  tunnel.chunks.length = 0;
  waits.push(performance.now() - beganMs);
  const left = INTERVAL_MS - (performance.now() - beganMs);
  if (left > 0) await new Promise((resolve) => setTimeout(resolve, left));
}
