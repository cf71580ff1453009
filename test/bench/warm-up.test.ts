import test from 'ava';
import { warmUp } from '../../bench/harness/warm-up.ts';

/** How often it runs, when its runs cost so much and the last cost goes on. */
async function runsOf(costs: readonly number[], mostMs = 60_000): Promise<number> {
  let runs = 0;
  await warmUp(() => Promise.resolve(costs[runs++] ?? costs.at(-1) ?? 0), mostMs);
  return runs;
}

test('a warm-up goes on while requests become cheaper', async (t) => {
  t.is(await runsOf([100]), 2);
  t.is(await runsOf([100, 90, 80, 77, 10]), 4, 'a gain of less than 5 % is none');
  t.is(await runsOf([100, 120, 10]), 2);
});

test('a warm-up ends when its time is over', async (t) => {
  t.is(await runsOf([100, 50, 10], 0), 1);
});
