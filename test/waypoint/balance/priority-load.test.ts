import test from 'ava';
import fc from 'fast-check';
import { shareLevels, type LevelHealth } from '../../../waypoint/balance/priority-load.ts';

const of = (available: number, total: number): LevelHealth => ({ available, total });

/** Shares in whole percent, with "!" for panic. */
function readable(levels: readonly LevelHealth[], panicPercent: number): string {
  return shareLevels(levels, panicPercent)
    .map(({ share, panic }) => `${Math.round(share * 100)}${panic ? '!' : ''}`)
    .join(' ');
}

const loads = test.macro({
  exec(t, levels: readonly LevelHealth[], panicPercent: number, expected: string) {
    t.is(readable(levels, panicPercent), expected);
  },
  title: (given = '') => `shareLevels() ${given}`,
});

// The tables of Envoy's documentation on priority levels, with an overprovisioning factor of 1.4.
test('sends all to a whole first level', loads, [of(100, 100), of(100, 100)], 0, '100 0');
test('sends all to a first level with 72 %', loads, [of(72, 100), of(72, 100)], 0, '100 0');
test('spills what 71 % cannot carry', loads, [of(71, 100), of(71, 100)], 0, '99 1');
test('spills half', loads, [of(50, 100), of(50, 100)], 0, '70 30');
test('spills most', loads, [of(25, 100), of(100, 100)], 0, '35 65');
test('shares in proportion what both cannot carry', loads, [of(25, 100), of(25, 100)], 0, '50 50');
test('passes a level without anything', loads, [of(0, 100), of(100, 100)], 0, '0 100');
test('goes through three levels', loads, [of(25, 100), of(25, 100), of(20, 100)], 0, '36 36 29');
test('has no level without endpoints', loads, [of(0, 0), of(1, 2)], 0, '0 100');
test('has nothing where nothing is available and panic is off', loads, [of(0, 3)], 0, '0');
test('is in panic under the threshold', loads, [of(4, 10)], 50, '100!');
test('is not in panic at the threshold', loads, [of(5, 10)], 50, '100');
test(
  'is not in panic where the next level carries the rest',
  loads,
  [of(1, 10), of(10, 10)],
  50,
  '14 86',
);
test('is in panic in both levels', loads, [of(2, 10), of(1, 10)], 50, '67! 33!');
test('shares by size where nothing is available', loads, [of(0, 30), of(0, 10)], 50, '75! 25!');
test('has nothing where there is nothing', loads, [], 50, '');

test('shareLevels() shares all or nothing, and nothing to a level that has nothing available and no panic', (t) => {
  const level = fc
    .tuple(fc.nat(20), fc.nat(20))
    .map(([a, b]) => of(Math.min(a, b), Math.max(a, b)));
  fc.assert(
    fc.property(fc.array(level, { maxLength: 6 }), fc.nat(100), (levels, panicPercent) => {
      const shared = shareLevels(levels, panicPercent);
      const sum = shared.reduce((total, { share }) => total + share, 0);
      const usable = shared.some(
        ({ panic }, index) => panic || (levels[index]?.available ?? 0) > 0,
      );
      t.true(Math.abs(sum - (usable ? 1 : 0)) < 1e-9);
      for (const [index, { share, panic }] of shared.entries())
        if (levels[index]?.available === 0 && !panic) t.is(share, 0);
    }),
  );
});
