import test from 'ava';
import { setTimeout as delay } from 'node:timers/promises';
import { startMesh } from '../support/mesh.ts';
import { sized } from './full-size.ts';
import { Load, type LongEnd } from './load.ts';
import { SHOP } from './shop.ts';

const UPGRADES = sized(50, 10);
const NEW_PER_SECOND = 300;
const LONG = 500;
const DRAIN_DEADLINE_S = sized(120, 10);
/** After an upgrade the old process takes new connections still, until it has heard of its end. */
const TOLD_MS = 500;
/** An upgrade every now and then, so that each ztunnel has connections of its own to drain. */
const PAUSE_MS = 1000;

const mesh = startMesh(test, {
  yaml: SHOP,
  settings: {
    dnsCapture: true,
    partEnvironment: { ztunnel: { CONNECTION_TERMINATION_DEADLINE: `${DRAIN_DEADLINE_S}s` } },
  },
});

test.before('the server listens', async () => {
  await (await mesh.peer('web')).listen(9000);
});

type Upgrade = Readonly<{ fromMs: number; toMs: number }>;

/** Until when a connection must have lived: the deadline of the first process that it saw replaced. */
function earliestEndMs({ openedAtMs }: LongEnd, upgrades: readonly Upgrade[]): number {
  const first = upgrades.find(({ toMs }) => toMs + TOLD_MS >= openedAtMs);
  if (first === undefined) return Infinity;
  return Math.max(first.fromMs, openedAtMs) + DRAIN_DEADLINE_S * 1000;
}

async function draining(): Promise<number> {
  const { parts } = await mesh.sandbox.status();
  return parts.reduce((sum, part) => sum + (part.draining ?? 0), 0);
}

test('ztunnels are upgraded under load: no new connection fails, long ones live until the deadline', async (t) => {
  t.timeout((DRAIN_DEADLINE_S + UPGRADES * 10) * 1000);
  const host = 'web.shop';
  const load = await Load.start(mesh, 'client', {
    ...{ host, port: 80, long: LONG, newPerSecond: NEW_PER_SECOND },
  });
  const startedMs = performance.now();
  const upgrades: Upgrade[] = [];
  let mostDraining = 0;
  for (let upgrade = 0; upgrade < UPGRADES; upgrade++) {
    const fromMs = Date.now();
    await mesh.part(`ztunnel-node-${1 + (upgrade % 2)}`, 'replace');
    upgrades.push({ fromMs, toMs: Date.now() });
    mostDraining = Math.max(mostDraining, await draining());
    await delay(PAUSE_MS);
  }
  // The connections that were open before the first one are cut meanwhile, and come again.
  const [first] = upgrades;
  await delay(Math.max(0, (first?.toMs ?? 0) + (DRAIN_DEADLINE_S + 2) * 1000 - Date.now()));

  const seconds = (performance.now() - startedMs) / 1000;
  const { opened, failures, longOpen, longEnds, rounds } = await load.end();
  t.log(
    `${UPGRADES} upgrades in ${Math.round(seconds)} s: ${opened} connections made, ${failures.length} failed;`,
    `${rounds} rounds on ${LONG} long ones, ${longEnds.length} ended by a deadline;`,
    `at most ${mostDraining} processes draining at once`,
  );
  t.deepEqual(failures.slice(0, 20), []);
  t.true(opened > 0.9 * NEW_PER_SECOND * seconds, `${opened} new connections in ${seconds} s`);
  t.is(longOpen, LONG);
  t.true(longEnds.length >= LONG, 'the first ones have met their deadline');
  const early = longEnds.filter((end) => end.endedAtMs < earliestEndMs(end, upgrades));
  t.deepEqual(early, []);
  t.deepEqual(
    longEnds.filter(({ how }) => !how.includes('ECONNRESET')),
    [],
    'who is cut must not take it for an end',
  );
  while ((await draining()) > 0) await delay(100);
});
