import test from 'ava';
import fc from 'fast-check';
import { Histogram } from '../../bench/harness/histogram.ts';

test('a histogram tells quantiles to within a 64th, whatever is recorded', (t) => {
  const latency = fc.oneof(
    fc.integer({ min: 0, max: 200 }),
    fc.integer({ min: 0, max: 2 ** 31 - 1 }),
  );
  fc.assert(
    fc.property(
      fc.array(latency, { minLength: 1, maxLength: 50 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (values, q) => {
        const histogram = new Histogram();
        for (const value of values) histogram.record(value);
        const sorted = values.toSorted((a, b) => a - b);
        const exact = sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? NaN;
        return Math.abs(histogram.quantile(q) - exact) <= exact / 64 + 0.5;
      },
    ),
  );
  t.pass();
});

test('a histogram counts, keeps the largest, and knows nothing when empty', (t) => {
  const histogram = new Histogram();
  t.true(Number.isNaN(histogram.quantile(0.5)));
  histogram.record(12.4);
  histogram.record(-3);
  t.is(histogram.count, 2);
  t.is(histogram.max, 12);
  t.is(histogram.quantile(0), 0);
});
