import test from 'ava';
import { changePlan, PLANS } from '../../../bench/ambient/plans.ts';

test('a plan can be changed on the command line', (t) => {
  const plan = changePlan(PLANS.standard, { pods: '10,30', modes: 'none,ambient', rounds: '4' });
  t.like(plan, { pods: [10, 30], modes: ['none', 'ambient'], repetitions: 4, judges: true });
  t.deepEqual(changePlan(PLANS.quick, {}), PLANS.quick);
});

test('one repetition judges nothing, and a quick run never', (t) => {
  t.false(changePlan(PLANS.standard, { rounds: '1' }).judges);
  t.false(changePlan(PLANS.quick, { rounds: '5' }).judges);
});

test('what cannot be run is refused with what can', (t) => {
  for (const [changes, message] of [
    [{ pods: '9' }, /"9" pods cannot be had: use at least 8/],
    [{ pods: '6' }, /"6" pods/],
    [{ pods: 'many' }, /"many" pods/],
    [{ modes: 'ambient,linkerd' }, /no mode "linkerd"; there are none, ambient, /],
    [{ rounds: '0' }, /--rounds "0"/],
  ] as const)
    t.throws(() => changePlan(PLANS.standard, changes), { code: 'ERR_BENCH_USAGE', message });
});
