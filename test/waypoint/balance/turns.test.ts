import test from 'ava';
import type { BalancerPolicy, Warmup } from '../../../mesh/model/traffic-policy.ts';
import type { Balancer } from '../../../waypoint/balance/balancer.ts';
import { buildBalancer } from '../../../waypoint/balance/build.ts';
import type { Endpoint } from '../../../waypoint/balance/endpoint.ts';
import { RandomSource } from '../../../waypoint/balance/random-source.ts';
import { Weighted } from '../../../waypoint/balance/weighted.ts';
import { countPicks, finish, makeEndpoint, makeEndpoints } from '../../support/endpoints.ts';
import { chiSquare, chiSquareLimit, seededRandom } from '../../support/numbers.ts';

type Kind = Extract<BalancerPolicy['kind'], 'round-robin' | 'least-request' | 'random'>;
const KINDS: readonly Kind[] = ['round-robin', 'least-request', 'random'];

function balancerOf(
  kind: Kind,
  endpoints: readonly Endpoint[],
  options: Readonly<{ warmup?: Warmup; now?: () => number; seed?: number }> = {},
): Balancer {
  const { warmup, now = () => 0, seed = 1234 } = options;
  const random = new RandomSource(seededRandom(seed));
  return finish(buildBalancer(endpoints, { policy: { kind }, warmup, now, random })).balancer;
}

for (const kind of KINDS) {
  test(`${kind} gives each of equal endpoints the same share`, (t) => {
    const endpoints = makeEndpoints(10);
    const balancer = balancerOf(kind, endpoints);
    const counts = countPicks(endpoints, 20_000, () => balancer.pick(0, 0));
    t.true(
      chiSquare(
        counts,
        endpoints.map(() => 2000),
      ) < chiSquareLimit(9),
      String(counts),
    );
  });

  test(`${kind} gives endpoints their shares by weight`, (t) => {
    const weights = [1, 2, 3, 4, 10];
    const endpoints = makeEndpoints(weights);
    const balancer = balancerOf(kind, endpoints);
    const counts = countPicks(endpoints, 20_000, () => balancer.pick(0, 0));
    const wanted = weights.map((weight) => weight * 1000);
    t.true(chiSquare(counts, wanted) < chiSquareLimit(4), String(counts));
  });

  test(`${kind} of nothing names nothing`, (t) => {
    t.is(balancerOf(kind, []).pick(0, 0), undefined);
  });
}

test('round robin takes equal endpoints one after the other, from any of them on', (t) => {
  const endpoints = makeEndpoints(5);
  const starts = new Set<Endpoint | undefined>();
  for (let seed = 1; seed < 200; seed++) {
    const balancer = balancerOf('round-robin', endpoints, { seed: seed * 7_654_321 });
    const first = balancer.pick(0, 0);
    const from = endpoints.findIndex((each) => each === first);
    starts.add(first);
    for (let step = 1; step <= 10; step++)
      t.is(balancer.pick(0, 0), endpoints[(from + step) % endpoints.length]);
  }
  t.is(starts.size, 5);
});

test('turns by weight begin with any endpoint too, the heavier the more often', (t) => {
  const endpoints = makeEndpoints([1, 1, 8]);
  const firsts = [0, 0, 0];
  for (let seed = 1; seed <= 1000; seed++) {
    const first = balancerOf('round-robin', endpoints, { seed: seed * 1_234_567 }).pick(0, 0);
    const index = endpoints.findIndex((each) => each === first);
    firsts[index] = (firsts[index] ?? 0) + 1;
  }
  t.true(
    firsts.every((count) => count > 20),
    String(firsts),
  );
  t.true((firsts[2] ?? 0) > 600, String(firsts));
});

test('round robin by weight never lets an endpoint wait longer than a round', (t) => {
  const weights = [1, 1, 8];
  const endpoints = makeEndpoints(weights);
  const balancer = balancerOf('round-robin', endpoints);
  const picks = Array.from({ length: 1000 }, () => balancer.pick(0, 0));
  for (const [index, weight] of weights.entries())
    for (let from = 0; from + 10 <= picks.length; from += 10) {
      const inRound = picks.slice(from, from + 10).filter((each) => each === endpoints[index]);
      t.true(Math.abs(inRound.length - weight) <= 1);
    }
});

test('least request prefers the less busy of two', (t) => {
  const endpoints = makeEndpoints(10);
  const [busy] = endpoints;
  if (busy !== undefined) busy.state.active = 5;
  const balancer = balancerOf('least-request', endpoints);
  const counts = countPicks(endpoints, 9000, () => balancer.pick(0, 0));
  t.is(counts[0], 0); // it is never the lesser of two different ones
  t.true(
    chiSquare(
      counts.slice(1),
      counts.slice(1).map(() => 1000),
    ) < chiSquareLimit(8),
  );
});

test('least request keeps the load of endpoints of different speed even', (t) => {
  const endpoints = makeEndpoints(10);
  const balancer = balancerOf('least-request', endpoints);
  const random = seededRandom(99);
  // The first endpoint answers four times slower than the others.
  const ends: { endpoint: Endpoint; at: number }[] = [];
  let most = 0;
  for (let now = 0; now < 20_000; now++) {
    for (let index = ends.length - 1; index >= 0; index--) {
      const end = ends[index];
      if (end === undefined || end.at > now) continue;
      end.endpoint.state.active--;
      ends.splice(index, 1);
    }
    const endpoint = balancer.pick(0, 0);
    if (endpoint === undefined) return t.fail();
    endpoint.state.active++;
    const speed = endpoint === endpoints[0] ? 80 : 20;
    ends.push({ endpoint, at: now + 1 + Math.floor(2 * speed * random()) });
    most = Math.max(most, ...endpoints.map(({ state }) => state.active));
  }
  t.true(most <= 10, `${most} at once`);
});

test('least request by weight divides a weight by the requests in flight', (t) => {
  const endpoints = makeEndpoints([1, 3]);
  const balancer = balancerOf('least-request', endpoints);
  const [, heavy] = endpoints;
  if (heavy !== undefined) heavy.state.active = 2; // 3 / (2 + 1): as much as the other one
  const counts = countPicks(endpoints, 1000, () => balancer.pick(0, 0));
  t.true(Math.abs((counts[0] ?? 0) - 500) <= 2, String(counts));
});

test('least request asked again names the other one of two, also where the first is idle', (t) => {
  const endpoints = makeEndpoints(2);
  const [idle, busy] = endpoints;
  if (busy !== undefined) busy.state.active = 100;
  const balancer = balancerOf('least-request', endpoints);
  for (let round = 0; round < 100; round++) {
    t.is(balancer.pick(0, 0), idle);
    t.is(balancer.pick(0, 1), busy);
  }
});

test('an endpoint that warms up gets a share that grows to that of the others', (t) => {
  const warmup: Warmup = { durationMs: 100_000, minimumPercent: 10, aggression: 1 };
  let nowMs = 0;
  const old = makeEndpoint('old', { warmSinceMs: -1e9 });
  const young = makeEndpoint('young', { warmSinceMs: 0 });
  for (const kind of ['round-robin', 'least-request'] as const) {
    nowMs = 0;
    const balancer = balancerOf(kind, [old, young], { warmup, now: () => nowMs });
    t.true(balancer instanceof Weighted);
    const shareAt = (ms: number): number => {
      nowMs = ms;
      const [, share = 0] = countPicks([old, young], 2200, () => balancer.pick(0, 0));
      return share / 2200;
    };
    t.true(Math.abs(shareAt(0) - 0.1 / 1.1) < 0.01); // the minimum
    t.true(Math.abs(shareAt(50_000) - 0.5 / 1.5) < 0.01);
    t.true(Math.abs(shareAt(100_000) - 0.5) < 0.01);
  }
});

test('only a warm-up that runs makes equal endpoints unequal', (t) => {
  const warmup: Warmup = { durationMs: 100_000, minimumPercent: 10, aggression: 1 };
  const endpoints = [makeEndpoint('a', { warmSinceMs: 0 }), makeEndpoint('b', { warmSinceMs: 0 })];
  const options = { warmup, now: () => 100_000 };
  t.false(balancerOf('round-robin', endpoints, options) instanceof Weighted);
});
