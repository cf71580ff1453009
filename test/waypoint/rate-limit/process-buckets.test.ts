import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import test from 'ava';
import type { TokenLimit } from '../../../mesh/model/rate-limit.ts';
import { markOf, ProcessBuckets } from '../../../waypoint/rate-limit/process-buckets.ts';

const HOUR: TokenLimit = { requests: 1000, perMs: 3_600_000, burst: 1000 };

/** What so many threads get together, of each of these keys. */
async function race(
  threads: number,
  task: Readonly<{ memory: SharedArrayBuffer; limit: TokenLimit; keys: number; tries: number }>,
): Promise<number> {
  const program = new URL('../../support/process-buckets-task.ts', import.meta.url);
  const got = Array.from({ length: threads }, async () => {
    const [count] = (await once(new Worker(program, { workerData: task }), 'message')) as [number];
    return count;
  });
  return (await Promise.all(got)).reduce((sum, count) => sum + count, 0);
}

test('threads that take from one bucket at once get exactly what is in it', async (t) => {
  const memory = ProcessBuckets.makeMemory(1024);
  // What drops in while they run is less than one token.
  t.is(await race(4, { memory, limit: HOUR, keys: 1, tries: 100_000 }), 1000);
  t.is(await race(2, { memory, limit: HOUR, keys: 1, tries: 1000 }), 0);
});

test('threads that bring in the same keys at once count each of them once', async (t) => {
  const memory = ProcessBuckets.makeMemory(4096);
  const limit = { requests: 3, perMs: 3_600_000, burst: 3 };
  t.is(await race(4, { memory, limit, keys: 500, tries: 20_000 }), 1500);
});

test('tokens drop in evenly, and no rounding ever adds one', (t) => {
  const buckets = new ProcessBuckets(ProcessBuckets.makeMemory(64));
  const limit = { requests: 3, perMs: 1000, burst: 3 };
  const mark = markOf('c', 'k');
  const at = (ms: number): bigint => 1_000_000_000n + BigInt(Math.round(ms * 1e6));
  let got = 0;
  for (let ms = 0; ms < 100_000; ms += 10) if (buckets.take(mark, limit, 1, at(ms)) === true) got++;
  t.is(got, 3 + Math.floor((99_990 * 3) / 1000));
});

test('what was taken is told as a bucket of one thread tells it, and can be given back', (t) => {
  const buckets = new ProcessBuckets(ProcessBuckets.makeMemory(64));
  const mark = markOf('c', 'k');
  t.is(buckets.taken(mark, HOUR, 5n), 0);
  t.true(buckets.take(mark, HOUR, 2, 5n));
  t.is(buckets.taken(mark, HOUR, 5n), 2 * HOUR.perMs);
  buckets.giveBack(mark, HOUR, 1, 5n);
  t.is(buckets.taken(mark, HOUR, 5n), HOUR.perMs);
  buckets.giveBack(mark, HOUR, 1, 5n);
  buckets.giveBack(mark, HOUR, 1, 5n);
  t.is(buckets.taken(mark, HOUR, 5n), 0);
  t.false(buckets.take(mark, { ...HOUR, requests: 0, burst: 0 }, 1, 5n));
});

test('a bucket that is full makes room for another key; without room nothing is counted here', (t) => {
  const slots = 32;
  const buckets = new ProcessBuckets(ProcessBuckets.makeMemory(slots));
  const limit = { requests: 1, perMs: 1000, burst: 1 };
  const marks = Array.from({ length: slots + 1 }, (_, key) => markOf('c', String(key)));
  const take = (index: number, nowNs: bigint): boolean | undefined =>
    buckets.take(marks[index] ?? 0n, limit, 1, nowNs);
  for (let index = 0; index < slots; index++) t.true(take(index, 1n));
  t.is(take(slots, 1n), undefined);
  t.false(take(0, 1n), 'those that are there are not forgotten');
  t.true(take(slots, 1_000_000_001n));
  t.false(take(slots, 1_000_000_001n));
});

test('a limit that goes beyond all time is one', (t) => {
  const buckets = new ProcessBuckets(ProcessBuckets.makeMemory(64));
  const limit = { requests: 1, perMs: 86_400_000, burst: 10_000_000 };
  for (let count = 0; count < 1000; count++) t.true(buckets.take(markOf('c', 'k'), limit, 1, 7n));
});
