/** Attackers by the hundreds and thousands on port 15008, on a core of their own, and a client that means no harm. */
import { setTimeout as pause } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import type { SocketAddress } from '../../base/address.ts';
import { HBONE_PORT } from '../../mesh/model/ports.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import {
  type AttackKind,
  goAhead,
  HarmlessClient,
  percentile99,
  runAttack,
} from '../support/attack-processes.ts';
import { CLIENT } from '../support/hbone-peer.ts';
import { openDescriptors } from '../support/memory.ts';
import { quietLogs } from '../support/quiet-log.ts';
import { TestNode, type TestPod } from '../support/ztunnel-pods.ts';

const APP_PORT = 8080;
const QUIET_MS = 1500;
const ATTACK_MS = 4000;
/** Until the attackers' program has started, and its first wave has been ended: what goes on is measured. */
const BEGIN_MS = 2000;
/** Below this a busy machine's own jitter is more than what it is compared with. */
const JITTER_MS = 2;
/** A busy machine can hold anything up: the best of so many counts. */
const ATTEMPTS = 3;

type Rig = Readonly<{
  node: TestNode;
  harmless: HarmlessClient;
  attack: (kind: AttackKind) => Promise<number>;
}>;

async function openRig(t: ExecutionContext): Promise<Rig> {
  goAhead(t);
  const node = await TestNode.open(t, quietLogs());
  const client = node.addPlain({ name: 'client' });
  const attacker = node.addPlain({ name: 'attacker' });
  const server = node.addPod({ name: 'server' });
  serveEcho(t, server);
  const target: SocketAddress = { ip: server.ip, port: HBONE_PORT };
  const certificate = node.ca.issue(CLIENT);
  const harmless = new HarmlessClient(t, client, target, `${server.ip}:${APP_PORT}`, certificate);
  await harmless.waits();
  const attack = (kind: AttackKind): Promise<number> =>
    runAttack(t, attacker, kind, target, certificate, ATTACK_MS);
  return { node, harmless, attack };
}

function serveEcho(t: ExecutionContext, pod: TestPod): void {
  const address = { ip: pod.ip, port: APP_PORT };
  const listener = listenTcp({ address, netns: pod.netns }, (stream) => {
    stream.setSink({
      capacity: () => stream.capacity(),
      onData: (bytes, offset, length) => stream.write(bytes, offset, length),
      onEnd: () => {
        stream.end();
      },
      onError: () => undefined,
      onWritable: () => {
        stream.resume();
      },
    });
  });
  t.teardown(() => {
    listener.close();
  });
}

const survives = test.macro({
  async exec(t, kind: AttackKind, fewestConnections: number) {
    const { node, harmless, attack } = await openRig(t);
    const descriptors = openDescriptors();
    const seen: string[] = [];
    let fine = false;
    for (let attempt = 0; attempt < ATTEMPTS && !fine; attempt++) {
      await harmless.waits();
      await pause(QUIET_MS);
      const quietMs = percentile99(await harmless.waits());
      const attacking = attack(kind);
      await pause(BEGIN_MS);
      await harmless.waits();
      await pause(ATTACK_MS - BEGIN_MS);
      const attackedMs = percentile99(await harmless.waits());
      const made = await attacking;
      t.true(made >= fewestConnections, `${made} connections`);
      seen.push(`${quietMs.toFixed(2)} ms, attacked ${attackedMs.toFixed(2)} ms, ${made} made`);
      fine = attackedMs <= Math.max(3 * quietMs, JITTER_MS);
    }
    t.log(seen.join('; '));
    t.true(fine, seen.join('; '));
    await node.until(() => openDescriptors() <= descriptors);
  },
  title: (given = '') => given,
});

test.serial(
  'H1, H23: beside 200 attackers that reset what they open, the p99 of others at most triples',
  survives,
  'h2',
  200,
);
test.serial(
  'T15: beside 4,000 connections that say little or nothing, the p99 of others at most triples',
  survives,
  'slow',
  4000,
);
test.serial(
  'T14: beside 2,000 handshakes a second that are dropped, the p99 of others at most triples',
  survives,
  'junk',
  2000,
);

test.serial('beside all attackers together no request of others fails', async (t) => {
  const { harmless, attack, node } = await openRig(t);
  const attacks = (['h2', 'slow', 'junk'] as const).map((kind) => attack(kind));
  await pause(BEGIN_MS);
  await harmless.waits();
  await pause(ATTACK_MS - BEGIN_MS);
  const waits = await harmless.waits();
  t.true(waits.length > 100, `${waits.length} answers`);
  await Promise.all(attacks);
  t.log(`p99 ${percentile99(waits).toFixed(2)} ms of ${waits.length}`);
  t.true(node.metric('halo_hbone_handshakes_refused_total', 'reason=') > 0);
});
