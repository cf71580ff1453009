import test from 'ava';
import fc from 'fast-check';
import { mannWhitney, median, quantile, spread } from '../../bench/harness/statistics.ts';

test('the median of an even number of values lies between the middle two', (t) => {
  t.is(median([4, 1, 3, 2]), 2.5);
  t.is(median([5]), 5);
  t.true(Number.isNaN(median([])));
});

test('quantiles are interpolated, and their values need no order', (t) => {
  t.is(quantile([30, 10, 20], 0), 10);
  t.is(quantile([30, 10, 20], 0.25), 15);
  t.is(quantile([30, 10, 20], 1), 30);
});

test('the spread is half the distance between the quartiles, as a part of the median', (t) => {
  t.is(spread([90, 95, 100, 105, 110]), 0.05);
  t.is(spread([7, 7, 7]), 0);
});

test('mannWhitney() agrees with published values', (t) => {
  // All of one sample above the other: 2 of C(10, 5) and C(8, 4) arrangements are as far apart.
  t.is(mannWhitney([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]), 2 / 252);
  t.is(mannWhitney([1, 2, 3, 4], [5, 6, 7, 8]), 2 / 70);
  // U = 2 of 9 with 3 and 3: 8 of 20 arrangements are as far apart or further.
  t.is(mannWhitney([1, 2, 5], [3, 4, 6]), 8 / 20);
});

test('mannWhitney() finds no difference between a sample and itself, and between constants', (t) => {
  t.true(mannWhitney([1, 2, 3, 4, 5], [1, 2, 3, 4, 5]) > 0.9);
  t.is(mannWhitney([3, 3, 3], [3, 3, 3]), 1);
  t.is(mannWhitney([], [1]), 1);
});

test('mannWhitney() approximates large samples as it counts small ones', (t) => {
  const low = Array.from({ length: 11 }, (_, index) => index);
  const shifted = (by: number): number[] => low.map((value) => value + by + 0.5);
  t.true(mannWhitney(low, shifted(0)) > 0.5);
  t.true(mannWhitney(low, shifted(8)) < 0.01);
});

test('mannWhitney() is a probability, and does not care which sample comes first', (t) => {
  const sample = fc.array(fc.integer({ min: 0, max: 30 }), { maxLength: 12 });
  fc.assert(
    fc.property(sample, sample, (a, b) => {
      const p = mannWhitney(a, b);
      t.true(p >= 0 && p <= 1);
      t.true(Math.abs(p - mannWhitney(b, a)) < 1e-9);
    }),
    { numRuns: 200 },
  );
  t.pass();
});
