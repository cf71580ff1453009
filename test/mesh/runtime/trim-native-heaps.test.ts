import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { trimNativeHeapsRegularly } from '../../../mesh/runtime/trim-native-heaps.ts';

const EVERY_MS = 20;

test('a process that works is trimmed, one that rests is not', async (t) => {
  let trims = 0;
  using _trim = trimNativeHeapsRegularly({
    everyMs: EVERY_MS,
    trim() {
      trims++;
    },
  });
  await delay(5 * EVERY_MS);
  t.is(trims, 0);
  const until = process.cpuUsage().user + 1_010_000;
  while (process.cpuUsage().user < until);
  while (trims === 0) await delay(EVERY_MS);
  await delay(5 * EVERY_MS);
  t.is(trims, 1);
});
