import test from 'ava';
import { RECOVERY_MS } from './round.ts';
import { runSoak } from './soak/soak.ts';

const MINUTES = 2;
/** The matrix holds the second; here, beside all the churn, a slow machine may take longer, and `npm run soak` is strict. */
const PATIENT_RECOVERY_MS = 3 * RECOVERY_MS;

test('two minutes of load, churn and faults leave nothing wrong, unexplained or behind', async (t) => {
  t.timeout(5 * 60_000);
  const seed = Math.floor(Math.random() * 2 ** 32);
  const report = await runSoak({
    ...{ minutes: MINUTES, seed, signal: new AbortController().signal },
    waypoints: true,
    recoveryMs: PATIENT_RECOVERY_MS,
    say: (line) => {
      t.log(line);
    },
  });
  t.deepEqual(report.failures, []);
  t.true(report.rounds >= 6, `${report.rounds} faults`);
  t.true(report.complete > 1000, `${report.complete} connections`);
});
