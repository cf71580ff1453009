import test from 'ava';
import type { Balancer, Building } from '../../../waypoint/balance/balancer.ts';
import { buildBalancer } from '../../../waypoint/balance/build.ts';
import type { Endpoint } from '../../../waypoint/balance/endpoint.ts';
import { hashText } from '../../../waypoint/balance/hash.ts';
import { RandomSource } from '../../../waypoint/balance/random-source.ts';
import { RingHash } from '../../../waypoint/balance/ring-hash.ts';
import { countPicks, finish, makeEndpoint, makeEndpoints } from '../../support/endpoints.ts';
import { chiSquare, chiSquareLimit } from '../../support/numbers.ts';

const source = { kind: 'source-ip' } as const;
const KINDS = {
  'ring hash': { kind: 'ring-hash', source, minimumRingSize: 1024 },
  Maglev: { kind: 'maglev', source, tableSize: 65_537 },
} as const;
type KindName = keyof typeof KINDS;
const NAMES: readonly KindName[] = ['ring hash', 'Maglev'];
/** Found by trying. */
const COLLIDING = ['10.0.105.118:8080', '10.1.53.31:8080'];
const KEYS = 50_000;
const hashes = Array.from({ length: KEYS }, (_, index) => hashText(`client-${index}`));

function building(name: KindName, endpoints: readonly Endpoint[]): Building {
  return buildBalancer(endpoints, {
    policy: KINDS[name],
    warmup: undefined,
    now: () => 0,
    random: new RandomSource(() => 0),
  });
}

function balancerOf(name: KindName, endpoints: readonly Endpoint[]): Balancer {
  return finish(building(name, endpoints)).balancer;
}

/** Which part of the keys that were elsewhere than at `gone` moved. */
function movedWithoutNeed(before: Balancer, after: Balancer, gone: Endpoint | undefined): number {
  let moved = 0;
  for (const hash of hashes) {
    const was = before.pick(hash, 0);
    if (was !== gone && was !== after.pick(hash, 0)) moved++;
  }
  return moved / KEYS;
}

for (const name of NAMES) {
  for (const count of [2, 8, 10, 16, 50, 100, 1000])
    test(`of ${count} endpoints in a ${name} one that goes moves about 1/${count} of the keys beside its own`, (t) => {
      const endpoints = makeEndpoints(count);
      const gone = endpoints[count >> 1];
      const rest = endpoints.filter((each) => each !== gone);
      const before = balancerOf(name, endpoints);
      const after = balancerOf(name, rest);
      const own = hashes.filter((hash) => before.pick(hash, 0) === gone).length / KEYS;
      t.true(own < 1.6 / count, `${own} were its own`);
      t.true(hashes.every((hash) => after.pick(hash, 0) !== gone));
      const moved = movedWithoutNeed(before, after, gone);
      const most = name === 'Maglev' ? 1 / count + 0.02 : 1.2 / count;
      t.true(moved <= most, `${moved} moved without need`);
    });

  test(`a ${name} is the same whatever the order in which its endpoints come`, (t) => {
    const endpoints = makeEndpoints([1, 2, 3, 1, 5, 1, 1]);
    const one = balancerOf(name, endpoints);
    const other = balancerOf(name, endpoints.toReversed());
    t.is(movedWithoutNeed(one, other, undefined), 0);
  });

  test(`a ${name} is the same in any order also where two endpoints have one hash`, (t) => {
    const endpoints = [
      ...makeEndpoints(5),
      ...COLLIDING.map((hashKey) => makeEndpoint(hashKey, { hashKey })),
    ];
    t.is(new Set(COLLIDING.map((hashKey) => hashText(hashKey))).size, 1);
    const one = balancerOf(name, endpoints);
    const other = balancerOf(name, endpoints.toReversed());
    t.is(movedWithoutNeed(one, other, undefined), 0);
    const counts = countPicks(endpoints, KEYS, (index) => one.pick(hashes[index] ?? 0, 0));
    t.true(
      counts.every((count) => count > KEYS / 14),
      String(counts),
    ); // neither hides the other
  });

  test(`a ${name} gives keys to endpoints in proportion to their weights`, (t) => {
    const weights = [1, 2, 3, 4, 10];
    const endpoints = makeEndpoints(weights);
    const balancer = balancerOf(name, endpoints);
    const counts = countPicks(endpoints, KEYS, (index) => balancer.pick(hashes[index] ?? 0, 0));
    const wanted = weights.map((weight) => (KEYS * weight) / 20);
    if (name === 'Maglev') t.true(chiSquare(counts, wanted) < chiSquareLimit(4), String(counts));
    // A ring's arcs differ by chance: with 100 points by 10 percent (one standard deviation), with 1,000 by 3.
    counts.forEach((count, index) => {
      const share = wanted[index] ?? 0;
      t.true(Math.abs(count - share) < 0.35 * share, `${count} for ${share}`);
    });
  });

  test(`a ${name} names another endpoint when one is asked for again and again`, (t) => {
    const endpoints = makeEndpoints(10);
    const balancer = balancerOf(name, endpoints);
    for (const hash of hashes.slice(0, 500)) {
      const named = new Set(
        Array.from({ length: 64 }, (_, attempt) => balancer.pick(hash, attempt)),
      );
      t.true(named.size > 5);
    }
  });

  test(`a ${name} of nothing names nothing, one of one always that one`, (t) => {
    t.is(balancerOf(name, []).pick(5, 0), undefined);
    const endpoints = makeEndpoints(1);
    const balancer = balancerOf(name, endpoints);
    for (const hash of [0, 1, -1, 0x7fff_ffff, -0x8000_0000, ...hashes.slice(0, 100)])
      t.is(balancer.pick(hash, 0), endpoints[0]);
  });

  test(`a ${name} of 10,000 endpoints is made in steps`, (t) => {
    const { balancer, steps } = finish(building(name, makeEndpoints(10_000)));
    t.true(steps >= 4, `${steps} steps`);
    const named = new Set(hashes.map((hash) => balancer.pick(hash, 0)));
    t.true(named.size > 9000, `${named.size} endpoints have keys`);
  });
}

test('Maglev gives each of equal endpoints the same share', (t) => {
  const endpoints = makeEndpoints(20);
  const balancer = balancerOf('Maglev', endpoints);
  const counts = countPicks(endpoints, KEYS, (index) => balancer.pick(hashes[index] ?? 0, 0));
  t.true(
    chiSquare(
      counts,
      endpoints.map(() => KEYS / 20),
    ) < chiSquareLimit(19),
  );
});

test('a ring has at least its minimum size, and at least 16 points of each of many endpoints', (t) => {
  const sizeOf = (endpoints: readonly Endpoint[], minimum: number): number => {
    const { balancer } = finish(RingHash.build(endpoints, minimum));
    return balancer instanceof RingHash ? balancer.size : 0;
  };
  for (const count of [1, 2, 7, 16, 17, 100, 1000, 1024])
    t.true(sizeOf(makeEndpoints(count), 1024) >= 1024);
  t.is(sizeOf(makeEndpoints(10_000), 1024), 160_000);
  t.true(sizeOf(makeEndpoints([1000, ...new Array<number>(99).fill(1)]), 1024) >= 1024);
});

test('an endpoint in a ring of greater weights keeps its keys when another one goes', (t) => {
  const endpoints = makeEndpoints([1, 5, 2, 5, 1, 3]);
  const gone = endpoints[2];
  const before = balancerOf('ring hash', endpoints);
  const after = balancerOf(
    'ring hash',
    endpoints.filter((each) => each !== gone),
  );
  t.is(movedWithoutNeed(before, after, gone), 0);
});
