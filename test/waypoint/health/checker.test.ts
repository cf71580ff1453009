import test from 'ava';
import type { HealthCheck } from '../../../mesh/model/backend-policy.ts';
import type { WorkloadUid } from '../../../mesh/model/workload.ts';
import type { HealthResult } from '../../../waypoint/health/checked-health.ts';
import {
  HealthChecker,
  type HealthChange,
  type Probed,
  type ProbeOutcome,
} from '../../../waypoint/health/checker.ts';
import { HandClock } from '../../support/hand-clock.ts';
import { keyOf, makeService, makeWorkload } from '../../support/workloads.ts';

const KEY = keyOf('shop/web.shop.svc.cluster.local');
const service = makeService({ name: 'web' });
const CHECK: HealthCheck = {
  ...{ intervalMs: 10_000, timeoutMs: 1000, unhealthyThreshold: 3, healthyThreshold: 2 },
  probe: { kind: 'tcp' },
};

function endpointsOf(...names: readonly string[]): ReadonlyMap<WorkloadUid, Probed> {
  return new Map(
    names.map((name) => {
      const workload = makeWorkload({ name, ips: ['10.0.0.1'] });
      return [workload.uid, { service, workload, port: 8080, protocol: 'HTTP11' }];
    }),
  );
}

class Scene implements Disposable {
  readonly clock = new HandClock(0);
  readonly results: HealthResult[] = [];
  readonly changes: HealthChange[] = [];
  /** What endpoints answer, and how often each was asked. */
  readonly answers = new Map<string, ProbeOutcome['kind']>();
  readonly asked = new Map<string, number>();
  readonly checker = new HealthChecker({
    clock: this.clock,
    probe: ({ workload: { name } }) => {
      this.asked.set(name, (this.asked.get(name) ?? 0) + 1);
      return Promise.resolve({ kind: this.answers.get(name) ?? 'passed', reason: 'as told' });
    },
    onResult: (result) => this.results.push(result),
    onChange: (change) => this.changes.push(change),
  });

  get health(): (boolean | undefined)[] {
    return this.results.map(({ healthy }) => healthy);
  }

  [Symbol.dispose](): void {
    this.checker[Symbol.dispose]();
  }
}

test('the first check decides alone, later ones by their thresholds', async (t) => {
  using scene = new Scene();
  scene.answers.set('a', 'failed');
  scene.checker.update(KEY, CHECK, endpointsOf('a'));
  await scene.clock.advance(1000);
  t.deepEqual(scene.health, [false]);
  scene.answers.set('a', 'passed');
  await scene.clock.advance(20_000);
  t.deepEqual(scene.health, [false, false, true]);
  scene.answers.set('a', 'failed');
  await scene.clock.advance(30_000);
  t.deepEqual(scene.health.slice(3), [true, true, false]);
  t.deepEqual(
    scene.changes.map(({ healthy, reason }) => [healthy, reason]),
    [
      [false, 'as told'],
      [true, 'as told'],
      [false, 'as told'],
    ],
  );
});

test('one good answer between failures begins the count anew', async (t) => {
  using scene = new Scene();
  scene.checker.update(KEY, CHECK, endpointsOf('a'));
  await scene.clock.advance(1000);
  for (const kind of ['failed', 'failed', 'passed', 'failed', 'failed'] as const) {
    scene.answers.set('a', kind);
    await scene.clock.advance(10_000);
  }
  t.deepEqual(scene.health, [true, true, true, true, true, true]);
  t.deepEqual(scene.changes, []);
});

test('an answer that refuses counts as all that are needed', async (t) => {
  using scene = new Scene();
  scene.checker.update(KEY, CHECK, endpointsOf('a'));
  await scene.clock.advance(1000);
  scene.answers.set('a', 'refused');
  await scene.clock.advance(10_000);
  t.deepEqual(scene.health, [true, false]);
});

test('what comes is checked, what goes is told and not asked again, what stays keeps what was learnt', async (t) => {
  using scene = new Scene();
  scene.answers.set('a', 'failed').set('b', 'failed');
  scene.checker.update(KEY, CHECK, endpointsOf('a', 'b'));
  await scene.clock.advance(1000);
  scene.results.length = 0;
  scene.checker.update(KEY, CHECK, endpointsOf('b', 'c'));
  t.is(scene.checker.size, 2);
  t.like(scene.results, [{ workload: 'Kubernetes//Pod/shop/a', healthy: undefined }]);
  scene.answers.set('b', 'passed');
  await scene.clock.advance(10_000);
  t.is(scene.asked.get('a'), 1);
  t.is(scene.asked.get('b'), 2);
  const ofB = scene.results.filter(({ workload }) => workload.endsWith('/b'));
  t.deepEqual(
    ofB.map(({ healthy }) => healthy),
    [false],
    'one good answer is not enough',
  );
  t.true((scene.asked.get('c') ?? 0) > 0);
});

test('without a policy nobody is asked any more, and everybody is told so', async (t) => {
  using scene = new Scene();
  scene.answers.set('a', 'failed');
  scene.checker.update(KEY, CHECK, endpointsOf('a'));
  await scene.clock.advance(1000);
  scene.checker.update(KEY, undefined, new Map());
  t.is(scene.checker.size, 0);
  t.is(scene.results.at(-1)?.healthy, undefined);
  await scene.clock.advance(60_000);
  t.is(scene.asked.get('a'), 1);
});

test('other settings hold at once, also where a check is under way', async (t) => {
  const clock = new HandClock(0);
  const answers: ((outcome: ProbeOutcome) => void)[] = [];
  const results: HealthResult[] = [];
  const aborted: boolean[] = [];
  using checker = new HealthChecker({
    clock,
    probe: (_probed, _check, signal) =>
      new Promise((resolve) => {
        answers.push(resolve);
        signal.addEventListener('abort', () => aborted.push(true));
      }),
    onResult: (result) => results.push(result),
    onChange: () => undefined,
  });
  checker.update(KEY, CHECK, endpointsOf('a'));
  await clock.advance(1000);
  checker.update(KEY, { ...CHECK, intervalMs: 500 }, endpointsOf('a'));
  t.deepEqual(aborted, [true]);
  answers[0]?.({ kind: 'failed', reason: 'late' });
  await clock.advance(1000);
  t.deepEqual(results, [], 'the old check says nothing any more');
  answers[1]?.({ kind: 'passed', reason: '' });
  await clock.advance(1);
  t.is(results[0]?.healthy, true);
  await clock.advance(560);
  t.is(answers.length, 3);
});
