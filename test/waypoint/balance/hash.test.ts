import test from 'ava';
import { hashNumber, hashText } from '../../../waypoint/balance/hash.ts';
import { asFraction, RandomSource } from '../../../waypoint/balance/random-source.ts';
import { chiSquare, chiSquareLimit } from '../../support/numbers.ts';

const vectors = test.macro({
  exec(t, text: string, seed: number, expected: number) {
    t.is(hashText(text, seed) >>> 0, expected);
  },
  title: (given = '') => `hashText() gives the digest that xxHash publishes for ${given}`,
});

test('nothing', vectors, '', 0, 0x02cc_5d05);
test('nothing, with a seed', vectors, '', 0x9e37_79b1, 0x36b7_8ae7);
test('a short text', vectors, 'abc', 0, 0x32d1_53ff);
test('a long text', vectors, 'Nobody inspects the spammish repetition', 0, 0xe229_3b2f);

/** How far 64,000 numbers of 32 bits are from being evenly spread. */
function unevenness(wordOf: (index: number) => number): number {
  const buckets = new Array<number>(64).fill(0);
  for (let index = 0; index < 64_000; index++) {
    const bucket = Math.floor(asFraction(wordOf(index)) * 64);
    buckets[bucket] = (buckets[bucket] ?? 0) + 1;
  }
  return chiSquare(buckets, new Array<number>(64).fill(1000));
}

test('hashText() spreads texts that differ in one digit evenly', (t) => {
  t.true(unevenness((index) => hashText(`user-${index}`)) < chiSquareLimit(63));
});

test('hashNumber() spreads following numbers evenly', (t) => {
  t.true(unevenness((index) => hashNumber(index, 7)) < chiSquareLimit(63));
});

test('a source of random numbers spreads them evenly, and others with another seed', (t) => {
  const source = new RandomSource(() => 0.25);
  t.true(unevenness(() => source.next()) < chiSquareLimit(63));
  const first = (seed: number): number => new RandomSource(() => seed).next();
  t.is(new Set([0, 0.25, 0.5, 0.75].map(first)).size, 4);
  const small = Array.from({ length: 1000 }, () => source.below(3));
  t.deepEqual([...new Set(small)].sort(), [0, 1, 2]);
});
