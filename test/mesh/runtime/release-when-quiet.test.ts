import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { releaseWhenQuiet } from '../../../mesh/runtime/release-when-quiet.ts';

const LOOK_MS = 5;

/** A thread whose work the test does, and how often it has given its memory back. */
function start(restMs: number): { work(ms: number): void; releases(): number } & Disposable {
  let workedMs = 0;
  let releases = 0;
  const stop = releaseWhenQuiet({
    ...{ lookMs: LOOK_MS, restMs, worked: () => workedMs },
    release() {
      releases++;
    },
  });
  return {
    work(ms) {
      workedMs += ms;
    },
    releases: () => releases,
    [Symbol.dispose]() {
      stop[Symbol.dispose]();
    },
  };
}

const looks = (): Promise<void> => delay(10 * LOOK_MS);

test('a thread that has worked gives its memory back once, when it has nothing to do', async (t) => {
  using thread = start(0);
  await looks();
  thread.work(299);
  await looks();
  t.is(thread.releases(), 0, 'too little was done');
  thread.work(1);
  while (thread.releases() === 0) await looks();
  await looks();
  t.is(thread.releases(), 1);
  thread.work(300);
  while (thread.releases() === 1) await looks();
  t.is(thread.releases(), 2);
});

test('a thread that works without a pause keeps its memory', async (t) => {
  // Each look finds more work than before: so much at once that no delay of this test's makes it a small share.
  let workedMs = 0;
  let releases = 0;
  using _release = releaseWhenQuiet({
    lookMs: LOOK_MS,
    worked: () => (workedMs += 1000),
    release() {
      releases++;
    },
  });
  await looks();
  t.true(workedMs > 1000, 'it was looked at');
  t.is(releases, 0);
});

test('a thread does not stop for it again and again', async (t) => {
  using thread = start(60_000);
  thread.work(300);
  while (thread.releases() === 0) await looks();
  thread.work(1000);
  await looks();
  t.is(thread.releases(), 1);
});

test('a thread that stood still was not quiet: it has much to do now', async (t) => {
  let [looked, releases] = [-1, 0]; // worked() is asked once before the first look
  using _release = releaseWhenQuiet({
    ...{ lookMs: 50, lateMs: 20 },
    worked: () => (looked++ < 0 ? 0 : 300),
    release() {
      releases++;
    },
  });
  while (looked < 1) await delay(1);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 150);
  await delay(0);
  t.is(looked, 2);
  t.is(releases, 0);
  while (releases === 0) await delay(1);
  t.true(looked > 2);
});

test('the processor time of this thread is what counts', async (t) => {
  let releases = 0;
  const until = process.threadCpuUsage().user + 310_000;
  while (process.threadCpuUsage().user < until);
  using _release = releaseWhenQuiet({
    lookMs: 100,
    release() {
      releases++;
    },
  });
  while (releases === 0) await delay(100);
  t.is(releases, 1);
});
