import test from 'ava';
import { Backoff } from '../../../mesh/runtime/backoff.ts';
import { InFlight, runDrain } from '../../../mesh/runtime/drain.ts';
import { BLOCK_MS, watchLoop } from '../../../mesh/runtime/loop-watchdog.ts';
import { DEFAULT_LOG_LEVELS, openLog } from '../../../mesh/runtime/log.ts';
import { Metrics } from '../../../mesh/runtime/metrics.ts';
import { Readiness } from '../../../mesh/runtime/readiness.ts';

test('Backoff doubles its pauses up to the limit, and begins anew after reset()', (t) => {
  const backoff = new Backoff({ initialMs: 100, maxMs: 500, jitter: 0 });
  t.deepEqual(
    [1, 2, 3, 4, 5].map(() => backoff.nextMs()),
    [100, 200, 400, 500, 500],
  );
  backoff.reset();
  t.is(backoff.nextMs(), 100);
});

test('Backoff makes part of each pause random (C6)', (t) => {
  const values = [0, 0.5, 0.999];
  const backoff = new Backoff({
    ...{ initialMs: 100, maxMs: 100, jitter: 0.5 },
    random: () => values.shift() ?? 0,
  });
  t.deepEqual(
    [1, 2, 3].map(() => backoff.nextMs()),
    [100, 75, 50],
  );
});

test('Backoff never overflows, however often it is asked', (t) => {
  const backoff = new Backoff({ initialMs: 1, maxMs: 15_000, jitter: 0 });
  for (let tries = 0; tries < 5000; tries++) backoff.nextMs();
  t.is(backoff.nextMs(), 15_000);
});

test('a pause of Backoff ends when its signal aborts', async (t) => {
  const backoff = new Backoff({ initialMs: 60_000, maxMs: 60_000 });
  const pause = backoff.pause(AbortSignal.abort());
  await t.throwsAsync(pause, { name: 'AbortError' });
});

test('Readiness names what is pending until every gate is open', async (t) => {
  const readiness = new Readiness();
  const state = readiness.gate('state manager');
  const proxy = readiness.gate('proxy');
  t.is(readiness.describe(), 'not ready, pending: state manager, proxy');
  const ready = readiness.whenReady();
  state.open();
  state.open();
  t.is(readiness.describe(), 'not ready, pending: proxy');
  proxy.open();
  await ready;
  t.is(readiness.describe(), 'ready');
});

test('runDrain() stops accepting, announces and waits for what is in flight', async (t) => {
  const work = new InFlight();
  const [first, second] = [work.begin(), work.begin()];
  const steps: string[] = [];
  const drained = runDrain(
    {
      stopAccepting: () => void steps.push('stop accepting'),
      announce: () => {
        steps.push('announce');
        first[Symbol.dispose]();
        first[Symbol.dispose](); // ended once
        setImmediate(() => {
          steps.push('last work ended');
          second[Symbol.dispose]();
        });
      },
      whenIdle: () => work.whenIdle(),
      force: () => void steps.push('force'),
    },
    60_000,
  );
  t.is(await drained, 'drained');
  t.deepEqual(steps, ['stop accepting', 'announce', 'last work ended']);
  t.is(work.count, 0);
});

test('runDrain() forces what is left at its deadline', async (t) => {
  const work = new InFlight();
  work.begin();
  const steps: string[] = [];
  const drained = runDrain(
    {
      stopAccepting: () => undefined,
      announce: () => undefined,
      whenIdle: () => work.whenIdle(),
      force: () => void steps.push('force'),
    },
    1,
  );
  t.is(await drained, 'forced');
  t.deepEqual(steps, ['force']);
});

test('watchLoop() tells how long the loop was blocked (R5)', async (t) => {
  const metrics = new Metrics();
  const seen = Promise.withResolvers<number>();
  const lines: string[] = [];
  const writer = { write: (line: string) => void lines.push(line), flush: () => undefined };
  const log = openLog({
    format: 'text',
    levels: { ...DEFAULT_LOG_LEVELS, fallback: 'debug' },
    writer,
  });
  using _watch = watchLoop({
    metrics,
    thread: 'control',
    logger: log.scope('example'),
    onBlock: seen.resolve,
  });
  await new Promise(setImmediate);
  const until = performance.now() + 3 * BLOCK_MS;
  while (performance.now() < until);
  const alive = setInterval(() => undefined, 10);
  const blockMs = await seen.promise;
  clearInterval(alive);
  t.true(blockMs > BLOCK_MS, `${blockMs} ms`);
  const [longest] = metrics.snapshot();
  t.is(longest?.name, 'halo_event_loop_longest_block_seconds');
  t.regex(lines[0] ?? '', /\tdebug\texample\tthe event loop was blocked\t.*block="\d+ms"/);
});
