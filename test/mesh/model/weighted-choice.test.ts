import test from 'ava';
import fc from 'fast-check';
import { chooseWeighted } from '../../../mesh/model/weighted-choice.ts';

type Backend = { name: number; weight: number };

const names = (weights: readonly number[]): Backend[] =>
  weights.map((weight, name) => ({ name, weight }));

function choose(backends: readonly Backend[], random: number): Backend | undefined {
  return chooseWeighted(backends, ({ weight }) => weight, random);
}

test('MeshHTTPRouteWeight: chooseWeighted() shares 70 to 30, in every part of the range', (t) => {
  const backends = names([70, 30]);
  const counts = [0, 0];
  for (let step = 0; step < 1000; step++) {
    const name = choose(backends, step / 1000)?.name ?? -1;
    counts[name] = (counts[name] ?? 0) + 1;
  }
  t.deepEqual(counts, [700, 300]);
});

test('MeshGRPCRouteWeight: chooseWeighted() never chooses a weight of 0, wherever it stands', (t) => {
  for (const weights of [
    [0, 70, 30],
    [70, 0, 30],
    [70, 30, 0],
  ])
    for (let step = 0; step <= 1000; step++) {
      const chosen = choose(names(weights), Math.min(step / 1000, 1 - Number.EPSILON / 2));
      t.true((chosen?.weight ?? 0) > 0);
    }
});

test('chooseWeighted() chooses nothing where nothing has a weight', (t) => {
  t.is(choose([], 0), undefined);
  t.is(choose(names([0, 0]), 0.5), undefined);
});

test('chooseWeighted() gives each its share whatever the weights', (t) => {
  const weights = fc.array(fc.integer({ min: 0, max: 1_000_000 }), { minLength: 1, maxLength: 16 });
  const shares = fc.property(
    weights,
    fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    (given, random) => {
      const total = given.reduce((sum, weight) => sum + weight, 0);
      const chosen = choose(names(given), random)?.name;
      if (total === 0) return chosen === undefined;
      if (chosen === undefined) return false;
      const before = given.slice(0, chosen).reduce((sum, weight) => sum + weight, 0);
      const at = random * total;
      return (
        given[chosen] !== 0 && at >= before - 1e-6 && at <= before + (given[chosen] ?? 0) + 1e-6
      );
    },
  );
  t.notThrows(() => {
    fc.assert(shares);
  });
});
