import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { releaseAfterFloods } from '../../../mesh/runtime/release-after-floods.ts';
import { sessionTally } from '../../../net/session-tally.ts';

const LOOK_MS = 5;

/** Sessions come and go; the test is alone in its thread. */
function flood(begin: number, end: number): void {
  for (let count = 0; count < begin; count++) sessionTally.begin();
  for (let count = 0; count < end; count++) sessionTally.end();
}

test('memory is released once, when many sessions have ended and less than half are left', async (t) => {
  let releases = 0;
  const release = (): void => {
    releases++;
  };
  using _release = releaseAfterFloods({ lookMs: LOOK_MS, release });
  const looks = (): Promise<void> => delay(10 * LOOK_MS);
  flood(999, 999);
  await looks();
  t.is(releases, 0, 'too few');
  flood(3_000, 1_000);
  await looks();
  t.is(releases, 0, 'most are there still');
  flood(0, 1_500);
  while (releases === 0) await looks();
  t.is(releases, 1);
  flood(3_000, 3_400);
  await looks();
  t.is(releases, 1, 'not again so soon');
  flood(0, 100);
});
