import test from 'ava';
import fc from 'fast-check';
import { formatDurationMs, parseDurationMs } from '../../../mesh/runtime/duration.ts';

const accepted = [
  ['0', 0],
  ['0s', 0],
  ['250ms', 250],
  ['10s', 10_000],
  ['1.5s', 1500],
  ['5m', 300_000],
  ['24h', 86_400_000],
  ['2160h', 7_776_000_000],
  ['1d', 86_400_000],
  ['1h30m', 5_400_000],
  ['1d2h3m4s5ms', 93_784_005],
] as const;

for (const [text, expected] of accepted) {
  test(`parseDurationMs() reads ${text} as ${expected} ms`, (t) => {
    t.is(parseDurationMs(text), expected);
  });
}

const refused = ['', '10', '-1s', '+1s', '1 s', ' 1s', '1s ', '1S', '1y', '.5s', '1.s', '1e3s'];
refused.push('1m1h', '1s1s', 's', '10s,', '0x1s', '٣s', '9999999999999s');

for (const text of refused) {
  test(`parseDurationMs() refuses ${JSON.stringify(text)}`, (t) => {
    t.throws(() => parseDurationMs(text), { code: 'ERR_DURATION' });
  });
}

test('formatDurationMs() writes what parseDurationMs() reads back', (t) => {
  t.is(formatDurationMs(5_400_000), '1h30m');
  t.is(formatDurationMs(86_400_000), '24h');
  t.is(formatDurationMs(1500), '1s500ms');
  const property = fc.property(fc.integer({ min: 0, max: 2 ** 40 }), (durationMs) => {
    t.is(parseDurationMs(formatDurationMs(durationMs)), durationMs);
  });
  fc.assert(property, { numRuns: 200 });
});
