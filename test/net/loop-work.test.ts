import { performance } from 'node:perf_hooks';
import { setTimeout as pause } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { parseIpAddress } from '../../base/address.ts';
import { watchWork } from '../../net/loop-work.ts';
import { runNextTurn } from '../../net/reactor.ts';
import { listenTcp } from '../../net/tcp-listener.ts';

const BLOCK_MS = 200;
/** Far longer than a stretch of work in a quiet test. */
const LONG_MS = 400;
/** In that time. */
const FEW = 10;
const ATTEMPTS = 5;

function block(): void {
  const untilMs = performance.now() + BLOCK_MS;
  while (performance.now() < untilMs);
}

function blocksOf(told: readonly number[]): readonly number[] {
  return told.filter((ms) => ms >= BLOCK_MS);
}

/** From here on the reactor sleeps in the place of Node's loop. */
function watchSomething(t: ExecutionContext): void {
  const address = { ip: parseIpAddress('127.0.0.1'), port: 0 };
  const listener = listenTcp({ address }, () => undefined);
  t.teardown(() => {
    listener.close();
  });
}

for (const [where, prepare] of [
  ["in Node's loop", () => undefined],
  ['in the reactor', watchSomething],
] as const) {
  test.serial(`a thread that sleeps ${where} is not woken to be asked`, async (t) => {
    prepare(t);
    let fewest = Infinity;
    // What runs the tests talks to this process now and then.
    for (let attempt = 0; attempt < ATTEMPTS && fewest >= FEW; attempt++) {
      const told: number[] = [];
      using _watch = watchWork((ms) => void told.push(ms));
      await pause(LONG_MS);
      fewest = Math.min(fewest, told.length);
      t.true(Math.max(...told) < LONG_MS / 2, String(told));
    }
    t.true(fewest < FEW, `told ${fewest} times`);
  });

  test.serial(`a block is told once by a thread that sleeps ${where}`, async (t) => {
    prepare(t);
    await pause(BLOCK_MS);
    const told: number[] = [];
    using _watch = watchWork((ms) => void told.push(ms));
    await pause(20);
    const beganMs = performance.now();
    block();
    const tookMs = performance.now() - beganMs;
    await pause(20);
    const [first = NaN, ...more] = blocksOf(told);
    t.true(Math.abs(first - tookMs) < BLOCK_MS / 2, `${first} ms of ${tookMs} ms`);
    t.deepEqual(more, []);
  });
}

test.serial("a block in a turn of the reactor is told once, and not as Node's too", async (t) => {
  watchSomething(t);
  const told: number[] = [];
  using _watch = watchWork((ms) => void told.push(ms));
  await pause(20);
  runNextTurn({ runTask: block });
  await pause(20);
  t.is(blocksOf(told).length, 1, String(told));
});

test.serial('nothing is told any more when the watch has ended', async (t) => {
  const told: number[] = [];
  const watch = watchWork((ms) => void told.push(ms));
  await pause(1);
  watch[Symbol.dispose]();
  const { length } = told;
  runNextTurn({ runTask: () => undefined });
  await pause(20);
  t.is(told.length, length);
});
