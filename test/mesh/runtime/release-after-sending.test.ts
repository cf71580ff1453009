import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { releaseAfterSending } from '../../../mesh/runtime/release-after-sending.ts';

const LOOK_MS = 5;
const MB = 1 << 20;

test('memory is released once, when much has been sent and no more comes', async (t) => {
  let held = 10 * MB;
  let looks = 0;
  let releases = 0;
  let growth = 0;
  using _release = releaseAfterSending({
    lookMs: LOOK_MS,
    held: () => {
      looks++;
      held += growth;
      return held;
    },
    release: () => {
      releases++;
      held = 100 * MB; // the rest is in use
    },
  });
  const look = async (count: number): Promise<void> => {
    for (const until = looks + count; looks < until; ) await delay(LOOK_MS);
  };
  held = 70 * MB;
  await look(3);
  t.is(releases, 0, 'too little');
  growth = 10 * MB;
  await look(20);
  t.is(releases, 0, 'it goes on');
  growth = 0;
  while (releases === 0) await look(1);
  await look(3);
  t.is(releases, 1, 'what is in use is not garbage');
  held = 900 * MB;
  await look(5);
  t.is(releases, 1, 'not again so soon');
});
