import test from 'ava';
import fc from 'fast-check';
import type { OutlierPolicy } from '../../mesh/model/traffic-policy.ts';
import { EndpointStates, type EndpointState } from '../../waypoint/endpoint-state.ts';
import { OutlierDetector, type OutlierEvent, type OutlierOptions } from '../../waypoint/outlier.ts';
import { OutlierModel, OUTLIERS_OFF, type OutlierStep } from '../support/outlier-model.ts';

class Scene {
  nowMs = 0;
  readonly states = new EndpointStates();
  readonly endpoints: readonly EndpointState[];
  readonly events: OutlierEvent[] = [];
  readonly detector: OutlierDetector;
  availabilityChanges = 0;

  constructor(size: number, policy: Partial<OutlierPolicy>, options: Partial<OutlierOptions> = {}) {
    this.endpoints = this.states.replace(
      Array.from({ length: size }, (_, index) => ({ key: `e${index}`, healthy: true })),
      0,
    );
    this.detector = new OutlierDetector(this.states, {
      now: () => this.nowMs,
      onAvailability: () => this.availabilityChanges++,
      onEvent: (event) => this.events.push(event),
      ...options,
    });
    this.detector.configure({ ...OUTLIERS_OFF, ...policy });
  }

  endpoint(index: number): EndpointState {
    const found = this.endpoints[index];
    if (found === undefined) throw new Error(`there is no endpoint ${index}`);
    return found;
  }

  /** Statuses of one endpoint, one after the other. */
  answers(index: number, ...statuses: readonly number[]): void {
    for (const status of statuses) this.detector.reportStatus(this.endpoint(index), status);
  }

  /** So many answers, of which some are failures. */
  many(index: number, total: number, failures: number): void {
    for (let count = 0; count < total; count++) this.answers(index, count < failures ? 500 : 200);
  }

  sweep(afterMs = 10_000): void {
    this.nowMs += afterMs;
    this.detector.sweep();
  }

  get ejected(): number[] {
    return [...this.endpoints.keys()].filter((index) => this.endpoint(index).outlier.ejected);
  }
}

test('so many 5xx answers in a row eject an endpoint, and not one less', (t) => {
  const scene = new Scene(2, { consecutive5xx: 5 });
  scene.answers(0, 500, 501, 502, 503);
  t.deepEqual(scene.ejected, []);
  scene.answers(0, 599);
  t.deepEqual(scene.ejected, [0]);
  t.false(scene.endpoint(0).available);
  t.is(scene.availabilityChanges, 1);
  t.deepEqual(scene.events, [
    { kind: 'ejected', endpoint: 'e0', cause: 'consecutive_5xx', forMs: 30_000 },
  ]);
});

test('who reports is told when that ejects the endpoint, and only then', (t) => {
  const scene = new Scene(4, { consecutive5xx: 2, maxEjectionPercent: 50 });
  const { detector } = scene;
  const reports = [0, 0, 0, 1, 1].map((index) => detector.reportStatus(scene.endpoint(index), 500));
  t.deepEqual(reports, [false, true, false, false, true]);
  t.false(detector.reportFailure(scene.endpoint(2), 'connect'));
  t.false(detector.reportFailure(scene.endpoint(2), 'reset')); // too many are
  const split = { splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2 };
  const apart = new Scene(2, split);
  const failures = [1, 2, 3].map(() => apart.detector.reportFailure(apart.endpoint(0), 'timeout'));
  t.deepEqual(failures, [false, true, false]);
});

test('any other answer ends a row', (t) => {
  const scene = new Scene(2, { consecutive5xx: 3, consecutiveGatewayErrors: 3 });
  for (const status of [200, 301, 404, 499]) scene.answers(0, 503, 503, status);
  t.deepEqual(scene.ejected, []);
});

test('a 5xx answer that is no gateway error ends a row of those', (t) => {
  const scene = new Scene(2, { consecutiveGatewayErrors: 3 });
  scene.answers(0, 502, 503, 500, 504, 503, 501, 502, 503);
  t.deepEqual(scene.ejected, []);
  scene.answers(0, 504);
  t.deepEqual(scene.ejected, [0]);
  t.is(scene.events[0]?.kind === 'ejected' && scene.events[0].cause, 'consecutive_gateway_failure');
});

test('a failure without an answer counts as a gateway error where it is not told apart', (t) => {
  for (const failure of ['connect', 'timeout', 'reset'] as const) {
    const scene = new Scene(2, { consecutiveGatewayErrors: 2 });
    scene.detector.reportFailure(scene.endpoint(0), failure);
    scene.detector.reportConnected(scene.endpoint(0)); // says nothing
    scene.detector.reportFailure(scene.endpoint(0), failure);
    t.deepEqual(scene.ejected, [0], failure);
  }
});

test('told apart, failures without an answer and bad answers count by themselves', (t) => {
  const split = {
    ...{ splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 3 },
    ...{ consecutive5xx: 3, consecutiveGatewayErrors: 3 },
  };
  const scene = new Scene(3, split);
  const fail = (index: number): void => {
    scene.detector.reportFailure(scene.endpoint(index), 'connect');
  };
  scene.answers(0, 503, 503);
  fail(0);
  fail(0);
  t.deepEqual(scene.ejected, []);
  fail(0);
  t.deepEqual(scene.ejected, [0]);
  fail(1);
  fail(1);
  scene.answers(1, 500); // it answered at all
  fail(1);
  t.deepEqual(scene.ejected, [0]);
  fail(2);
  fail(2);
  scene.detector.reportConnected(scene.endpoint(2));
  fail(2);
  fail(2);
  t.deepEqual(scene.ejected, [0]);
});

test('an endpoint returns in the first sweep after its time, and may fail as often again', (t) => {
  const scene = new Scene(2, { consecutive5xx: 3 });
  scene.answers(0, 500, 500, 500);
  scene.sweep(29_999);
  t.deepEqual(scene.ejected, [0]);
  scene.sweep(1);
  t.deepEqual(scene.ejected, []);
  t.true(scene.endpoint(0).available);
  t.deepEqual(scene.events[1], { kind: 'returned', endpoint: 'e0', ejectedMs: 30_000 });
  scene.answers(0, 500, 500);
  t.deepEqual(scene.ejected, []);
  scene.answers(0, 500);
  t.deepEqual(scene.ejected, [0]);
});

test('an endpoint is ejected longer each time, up to the maximum, and shorter again after good intervals', (t) => {
  const scene = new Scene(2, { consecutive5xx: 1, baseEjectionMs: 1000, maxEjectionMs: 3500 });
  const ejectionMs = (): number => {
    scene.answers(0, 500);
    const event = scene.events.findLast(({ kind }) => kind === 'ejected');
    scene.sweep(10_000); // it returns
    return event?.kind === 'ejected' ? event.forMs : 0;
  };
  t.deepEqual([1, 2, 3, 4, 5, 6, 7].map(ejectionMs), [1000, 2000, 3000, 3500, 3500, 3500, 3500]);
  scene.sweep();
  scene.sweep();
  scene.sweep();
  t.is(ejectionMs(), 3000); // the multiplier had stopped at 5
  for (let interval = 0; interval < 20; interval++) scene.sweep();
  t.is(ejectionMs(), 1000);
});

test('no more than the permitted part of the endpoints is ejected', (t) => {
  const scene = new Scene(10, { consecutive5xx: 1, maxEjectionPercent: 25 });
  for (let index = 0; index < 10; index++) scene.answers(index, 500);
  t.deepEqual(scene.ejected, [0, 1]);
  t.is(scene.detector.counters.ejections_overflow, 8);
  t.deepEqual(scene.events[2], { kind: 'not-ejected', endpoint: 'e2', cause: 'consecutive_5xx' });
  t.is(scene.availabilityChanges, 2);
});

test('of few endpoints none is ejected where one would be too many, unless that is told', (t) => {
  const few = { consecutive5xx: 1, maxEjectionPercent: 10 };
  const scene = new Scene(9, few);
  scene.answers(0, 500);
  t.deepEqual(scene.ejected, []);
  const told = new Scene(9, few, { alwaysEjectOne: true });
  told.answers(0, 500);
  told.answers(1, 500);
  t.deepEqual(told.ejected, [0]);
});

test('the last endpoint is ejected only where all may be', (t) => {
  const last = new Scene(
    1,
    { consecutive5xx: 1, maxEjectionPercent: 99 },
    { alwaysEjectOne: true },
  );
  last.answers(0, 500);
  t.deepEqual(last.ejected, []);
  const all = new Scene(3, { consecutive5xx: 1, maxEjectionPercent: 100 });
  for (const index of [0, 1, 2]) all.answers(index, 500);
  t.deepEqual(all.ejected, [0, 1, 2]);
});

test('an endpoint that could not be ejected is when it fails as often again', (t) => {
  const scene = new Scene(2, { consecutive5xx: 2, maxEjectionPercent: 50 });
  scene.answers(0, 500, 500);
  scene.answers(1, 500, 500, 500);
  t.deepEqual(scene.ejected, [0]);
  scene.sweep(30_000); // the first returns
  scene.answers(1, 500);
  t.deepEqual(scene.ejected, [1]);
});

test('an endpoint whose success rate is far below the others’ is ejected at the end of the interval', (t) => {
  const scene = new Scene(6, { successRateStdevFactor: 1900 });
  for (let index = 0; index < 6; index++) scene.many(index, 100, index === 3 ? 50 : 2);
  t.deepEqual(scene.ejected, []);
  scene.sweep();
  t.deepEqual(scene.ejected, [3]);
  t.is(scene.events[0]?.kind === 'ejected' && scene.events[0].cause, 'success_rate');
});

test('success rates are compared only with enough requests at enough endpoints', (t) => {
  const policy = { successRateStdevFactor: 1000 };
  const quiet = new Scene(6, policy);
  for (let index = 0; index < 6; index++) quiet.many(index, 99, index === 3 ? 99 : 0);
  quiet.sweep();
  t.deepEqual(quiet.ejected, []);
  const few = new Scene(5, policy);
  for (let index = 0; index < 4; index++) few.many(index, 100, index === 3 ? 100 : 0);
  few.sweep();
  t.deepEqual(few.ejected, []);
  // Counts do not go over from one interval to the next.
  const halves = new Scene(6, policy);
  for (const _ of [0, 1]) {
    for (let index = 0; index < 6; index++) halves.many(index, 60, index === 3 ? 60 : 0);
    halves.sweep();
  }
  t.deepEqual(halves.ejected, []);
});

test('an endpoint with as many failures as the threshold is ejected at the end of the interval', (t) => {
  const scene = new Scene(5, { failurePercentageThreshold: 85 });
  for (const [index, failures] of [85, 84, 0, 100, 0].entries()) scene.many(index, 100, failures);
  scene.sweep();
  t.deepEqual(scene.ejected, [0, 3]);
  const few = new Scene(4, { failurePercentageThreshold: 85 });
  for (let index = 0; index < 4; index++) few.many(index, 100, 100);
  few.sweep();
  t.deepEqual(few.ejected, []);
});

test('told apart, connections that fail are judged by statistics of their own', (t) => {
  const scene = new Scene(5, {
    ...{ splitExternalLocalOriginErrors: true, failurePercentageThreshold: 50 },
  });
  for (let index = 0; index < 5; index++)
    for (let count = 0; count < 60; count++)
      if (index === 2 && count % 2 === 0)
        scene.detector.reportFailure(scene.endpoint(2), 'connect');
      else scene.answers(index, 200);
  scene.sweep();
  t.deepEqual(scene.ejected, [2]);
  t.is(scene.detector.counters.enforced.get('local_origin_failure_percentage'), 1);
});

test('counters have what happened', (t) => {
  const scene = new Scene(4, { consecutive5xx: 1, maxEjectionPercent: 50 });
  for (const index of [0, 1, 2]) scene.answers(index, 500);
  const counters = scene.detector.counters;
  t.is(counters.ejections_active, 2);
  t.is(counters.ejections_enforced_total, 2);
  t.is(counters.ejections_overflow, 1);
  t.is(counters.detected.get('consecutive_5xx'), 3);
  t.is(counters.enforced.get('consecutive_5xx'), 2);
  scene.sweep(30_000);
  t.is(scene.detector.counters.ejections_active, 0);
  t.is(scene.detector.counters.ejections_enforced_total, 2);
});

test('without a policy all return and nothing is ejected any more', (t) => {
  const scene = new Scene(3, { consecutive5xx: 1 });
  scene.answers(0, 500);
  scene.detector.configure(undefined);
  t.deepEqual(scene.ejected, []);
  t.true(scene.endpoint(0).available);
  scene.answers(1, 500, 500, 500);
  scene.detector.sweep();
  t.deepEqual(scene.ejected, []);
});

test('an ejection goes on when the policy or the endpoints change', (t) => {
  const scene = new Scene(3, { consecutive5xx: 1 });
  scene.answers(0, 500);
  scene.detector.configure({ ...OUTLIERS_OFF, consecutive5xx: 7 });
  scene.states.replace([{ key: 'e0', healthy: true }], 0);
  t.deepEqual(scene.ejected, [0]);
  scene.sweep(30_000);
  t.deepEqual(scene.ejected, []);
});

test('an endpoint that is gone is not ejected, and one that was returns silently in time', (t) => {
  const scene = new Scene(3, { consecutive5xx: 1 });
  using _request = scene.endpoint(1).beginRequest();
  scene.answers(0, 500);
  scene.states.replace([{ key: 'e2', healthy: true }], 0);
  scene.answers(1, 500);
  t.deepEqual(scene.ejected, [0]);
  scene.sweep(30_000);
  t.deepEqual(scene.ejected, []);
  t.false(scene.endpoint(0).available);
  t.is(scene.states.get('e0'), undefined);
});

const step: fc.Arbitrary<OutlierStep> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('status' as const),
      endpoint: fc.nat(9),
      status: fc.constantFrom(200, 404, 500, 502, 503, 504),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('failure' as const),
      endpoint: fc.nat(9),
      failure: fc.constantFrom('connect', 'timeout', 'reset'),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('connected' as const), endpoint: fc.nat(9) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('interval' as const) }) },
);
const policies: fc.Arbitrary<OutlierPolicy> = fc.record({
  consecutive5xx: fc.nat(4),
  consecutiveGatewayErrors: fc.nat(4),
  consecutiveLocalOriginFailures: fc.nat(3),
  splitExternalLocalOriginErrors: fc.boolean(),
  intervalMs: fc.constant(10_000),
  baseEjectionMs: fc.constantFrom(1, 10_000, 25_000),
  maxEjectionMs: fc.constantFrom(0, 20_000, 300_000),
  maxEjectionPercent: fc.constantFrom(0, 10, 35, 100),
  minHealthPercent: fc.constant(0),
  successRateStdevFactor: fc.constantFrom(0, 500, 1000),
  successRateMinimumHosts: fc.nat(4),
  successRateRequestVolume: fc.nat(3),
  failurePercentageThreshold: fc.constantFrom(0, 50, 100),
  failurePercentageMinimumHosts: fc.nat(4),
  failurePercentageRequestVolume: fc.nat(3),
});

test('the detector does what a plain model does, whatever happens', (t) => {
  let ejections = 0;
  const run = (policy: OutlierPolicy, size: number, steps: readonly OutlierStep[]): void => {
    const scene = new Scene(size, policy);
    const model = new OutlierModel(policy, size);
    for (const each of steps) {
      if (each.kind === 'interval') scene.nowMs += policy.intervalMs;
      model.step(each, scene.nowMs);
      if (each.kind === 'interval') scene.detector.sweep();
      else if (each.endpoint < size) apply(scene, each);
      t.deepEqual(scene.ejected, model.ejected);
      t.is(scene.detector.counters.ejections_active, model.ejected.length);
    }
    ejections += scene.detector.counters.ejections_enforced_total;
  };
  const sizes = fc.integer({ min: 1, max: 10 });
  fc.assert(fc.property(policies, sizes, fc.array(step, { maxLength: 300, size: 'max' }), run), {
    numRuns: 400,
  });
  t.true(ejections > 1000, `${ejections} ejections`); // the runs had something to compare
});

function apply(scene: Scene, each: Exclude<OutlierStep, { kind: 'interval' }>): void {
  const state = scene.endpoint(each.endpoint);
  if (each.kind === 'status') scene.detector.reportStatus(state, each.status);
  else if (each.kind === 'failure') scene.detector.reportFailure(state, each.failure);
  else scene.detector.reportConnected(state);
}
