import test from 'ava';
import { fuzzTarget } from './engine.ts';
import { TARGETS } from './targets.ts';

/** Long enough to find what a change broke; `npm run fuzz` goes deeper. */
const SECONDS = 15;
/** A target whose code is not instrumented, or that refuses everything at its door, stays below. */
const MIN_COVERAGE = 15;

for (const [name, { maxBytes }] of TARGETS)
  test.serial(
    `the ${name} target holds for ${SECONDS} s of inputs guided by coverage`,
    async (t) => {
      t.timeout(110_000);
      const run = await fuzzTarget(name, { seconds: SECONDS, maxBytes, learn: false });
      t.log(`${run.executions} inputs, ${run.coverage} edges`);
      const input = run.finding?.toString('base64');
      t.is(input, undefined, `keep it by: npm run fuzz -- ${name}\n${run.log.slice(-4000)}`);
      t.true(run.executions > 100, `${run.executions} inputs`);
      t.true(run.coverage > MIN_COVERAGE, `${run.coverage} edges`);
    },
  );
