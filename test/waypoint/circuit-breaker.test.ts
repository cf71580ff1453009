import test from 'ava';
import type { CircuitBreaker as Limits } from '../../mesh/model/traffic-policy.ts';
import {
  CircuitBreaker,
  type LimitedResource,
  type Permit,
} from '../../waypoint/circuit-breaker.ts';

const UNBOUNDED: Limits = {
  ...{ maxConnections: Infinity, maxPendingRequests: Infinity, maxRequests: Infinity },
  ...{ maxRetries: Infinity, maxRequestsPerConnection: Infinity, maxConcurrentStreams: Infinity },
};

function breakerOf(limits: Partial<Limits> | undefined, now = (): number => 0): CircuitBreaker {
  const breaker = new CircuitBreaker(now);
  breaker.configure(limits && { ...UNBOUNDED, ...limits }, undefined);
  return breaker;
}

function take(breaker: CircuitBreaker, resource: LimitedResource, count: number): Permit[] {
  return Array.from({ length: count }, () => breaker.acquire(resource)).filter(
    (permit) => permit !== undefined,
  );
}

const CASES = [
  ['connections', 'maxConnections', 'upstream_cx_overflow'],
  ['pending', 'maxPendingRequests', 'upstream_rq_pending_overflow'],
  ['requests', 'maxRequests', 'upstream_rq_pending_overflow'],
  ['retries', 'maxRetries', 'upstream_rq_retry_overflow'],
] as const;

for (const [resource, limit, counter] of CASES) {
  test(`no more ${resource} are under way than ${limit} allows`, (t) => {
    const breaker = breakerOf({ [limit]: 2 });
    const [first] = take(breaker, resource, 3);
    t.is(breaker.active(resource), 2);
    t.is(breaker.overflows[counter], 1);
    first?.[Symbol.dispose]();
    t.is(take(breaker, resource, 2).length, 1);
    t.is(breaker.overflows[counter], 2);
    for (const [other] of CASES)
      if (other !== resource) t.is(take(breaker, other, 100).length, 100);
  });

  test(`with a ${limit} of 0 there are no ${resource}`, (t) => {
    t.is(breakerOf({ [limit]: 0 }).acquire(resource), undefined);
  });
}

test('without limits nothing is bounded', (t) => {
  const breaker = breakerOf(undefined);
  for (const [resource] of CASES) t.is(take(breaker, resource, 10_000).length, 10_000);
});

test('a permit is given back once, at the end of its block or before', (t) => {
  const breaker = breakerOf({ maxRequests: 3 });
  {
    using permit = breaker.acquire('requests');
    using _other = breaker.acquire('requests');
    t.is(breaker.active('requests'), 2);
    permit?.[Symbol.dispose]();
    t.is(breaker.active('requests'), 1);
  }
  t.is(breaker.active('requests'), 0);
});

test('what is under way stays when limits change', (t) => {
  const breaker = breakerOf({ maxRequests: 5 });
  const permits = take(breaker, 'requests', 5);
  breaker.configure({ ...UNBOUNDED, maxRequests: 2 }, undefined);
  t.is(breaker.active('requests'), 5);
  for (const permit of permits.slice(0, 3)) permit[Symbol.dispose]();
  t.is(breaker.acquire('requests'), undefined); // 2 are under way
  permits[3]?.[Symbol.dispose]();
  t.not(breaker.acquire('requests'), undefined);
});

test('a budget allows retries in proportion to what is under way, and takes the place of maxRetries', (t) => {
  const breaker = breakerOf(undefined);
  const budget = { percent: 20, minConcurrency: 3, intervalMs: 0 };
  breaker.configure({ ...UNBOUNDED, maxRetries: 1 }, budget);
  t.is(take(breaker, 'retries', 10).length, 3); // the minimum
  take(breaker, 'requests', 20);
  take(breaker, 'pending', 5);
  t.is(take(breaker, 'retries', 10).length, 2); // 20 % of 25 are 5
  t.is(breaker.overflows.upstream_rq_retry_overflow, 15);
});

test('a budget with an interval counts the requests that began in it', (t) => {
  let nowMs = 0;
  const breaker = new CircuitBreaker(() => nowMs);
  breaker.configure(undefined, { percent: 10, minConcurrency: 1, intervalMs: 1000 });
  for (const permit of take(breaker, 'requests', 100)) permit[Symbol.dispose]();
  const retries = take(breaker, 'retries', 50);
  t.is(retries.length, 10);
  for (const permit of retries) permit[Symbol.dispose]();
  nowMs = 1500; // half of them still count
  const later = take(breaker, 'retries', 50);
  t.is(later.length, 5);
  for (const permit of later) permit[Symbol.dispose]();
  nowMs = 3000;
  t.is(take(breaker, 'retries', 50).length, 1);
});
