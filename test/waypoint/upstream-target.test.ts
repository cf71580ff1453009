import test from 'ava';
import type { Clock } from '../../certs/clock.ts';
import { DEFAULT_TRAFFIC_POLICY } from '../../mesh/model/traffic-policy.ts';
import type { BalancerSource } from '../../waypoint/balance/levels.ts';
import type { OutlierEvent } from '../../waypoint/outlier.ts';
import { UpstreamTarget, type TargetConfiguration } from '../../waypoint/upstream-target.ts';
import { HandClock } from '../support/hand-clock.ts';
import { seededRandom } from '../support/numbers.ts';
import { OUTLIERS_OFF } from '../support/outlier-model.ts';
import { makeService, makeWorkload, podUid, type WorkloadFields } from '../support/workloads.ts';

const KEY = 'shop/web.shop.svc.cluster.local';
const source: BalancerSource = {
  ...{ network: '', clusterId: 'Kubernetes', node: 'node-a', labels: new Map() },
  locality: { region: 'r1', zone: 'z1', subzone: '' },
};
const outliers = { ...OUTLIERS_OFF, consecutive5xx: 3, maxEjectionPercent: 50 };

function pod(
  name: string,
  ip: string,
  fields: Partial<WorkloadFields> = {},
): ReturnType<typeof makeWorkload> {
  return makeWorkload({ name, ips: [ip], serves: { [KEY]: ['80:8080'] }, ...fields });
}

const pods = [pod('web-1', '10.0.0.1'), pod('web-2', '10.0.0.2')];

function configurationOf(changes: Partial<TargetConfiguration> = {}): TargetConfiguration {
  const service = makeService({ name: 'web', ports: ['80:8080'] });
  const policy = { ...DEFAULT_TRAFFIC_POLICY, outliers };
  return { service, servicePort: 80, policy, workloads: pods, source, ...changes };
}

type Bench = Disposable &
  Readonly<{ target: UpstreamTarget; time: HandClock; events: OutlierEvent[] }>;

function bench(): Bench {
  const time = new HandClock(0);
  const clock: Clock = { now: time.now, schedule: time.schedule, random: seededRandom(1) };
  const events: OutlierEvent[] = [];
  const target = new UpstreamTarget(clock, (event) => events.push(event));
  return {
    ...{ target, time, events },
    [Symbol.dispose]: () => {
      target[Symbol.dispose]();
    },
  };
}

function picked(target: UpstreamTarget, count = 100): string[] {
  const names = new Set(
    Array.from({ length: count }, () => target.pick({})?.workload.name ?? 'none'),
  );
  return [...names].sort();
}

test('a target sends to the endpoints that serve the port, with the port that is theirs', async (t) => {
  using scene = bench();
  const workloads = [
    pod('web-1', '10.0.0.1'),
    pod('named', '10.0.0.2', { serves: { [KEY]: ['80:9090'] } }),
    pod('drained', '10.0.0.3', { capacity: 0 }),
    pod('sick', '10.0.0.4', { healthy: false }),
  ];
  scene.target.configure(configurationOf({ workloads }));
  t.deepEqual(picked(scene.target), ['named', 'web-1']);
  const ports = new Set(Array.from({ length: 100 }, () => scene.target.pick({})?.port));
  t.deepEqual([...ports].sort(), [8080, 9090]);
  const service = makeService({
    ...{ name: 'web', ports: ['80:8080'] },
    loadBalancing: { allowUnhealthy: true },
  });
  scene.target.configure(configurationOf({ workloads, service }));
  await scene.time.advance(1);
  t.true(picked(scene.target).includes('sick'));
});

test('an endpoint that fails is left out, also after a change of configuration, and comes back in time', async (t) => {
  using scene = bench();
  const { target, time } = scene;
  target.configure(configurationOf());
  const failing = target.pick({});
  if (failing === undefined) return t.fail();
  const other = pods.find(({ uid }) => uid !== failing.workload.uid)?.name ?? '';
  for (let count = 0; count < 3; count++) target.outliers.reportStatus(failing.state, 503);
  t.deepEqual(picked(target), [other]);
  const third = pod('web-3', '10.0.0.3');
  target.configure(configurationOf({ workloads: [...pods, third] }));
  await time.advance(1);
  t.deepEqual(picked(target), [other, 'web-3']);
  await time.advance(28_999);
  t.deepEqual(picked(target), [other, 'web-3']);
  await time.advance(1000);
  await time.advance(1);
  t.deepEqual(picked(target), ['web-1', 'web-2', 'web-3']);
  t.deepEqual(
    scene.events.map(({ kind }) => kind),
    ['ejected', 'returned'],
  );
});

test('requests under way are known after a change of configuration', (t) => {
  using scene = bench();
  const { target } = scene;
  target.configure(configurationOf());
  const first = target.pick({});
  using _request = first?.state.beginRequest();
  target.configure(configurationOf());
  for (let count = 0; count < 50; count++)
    t.not(target.pick({})?.workload.uid, first?.workload.uid); // the other one has fewer
});

test('an endpoint whose workload has changed is another one with the same state', async (t) => {
  using scene = bench();
  const { target, time } = scene;
  const [web] = pods;
  if (web === undefined) return t.fail();
  target.configure(configurationOf({ workloads: [web] }));
  const first = target.pick({});
  target.configure(configurationOf({ workloads: [web] }));
  await time.advance(1);
  t.is(target.pick({}), first);
  target.configure(configurationOf({ workloads: [{ ...web, capacity: 5 }] }));
  await time.advance(1);
  const changed = target.pick({});
  t.is(changed?.weight, 5);
  t.is(changed?.state, first?.state);
});

test('endpoints in the own zone are used before others', (t) => {
  using scene = bench();
  const near = pod('near', '10.0.0.1', { locality: source.locality });
  const far = pod('far', '10.0.0.2', { locality: { region: 'r2', zone: 'z', subzone: '' } });
  const locality = { distribute: [], failover: [], failoverPriority: [] };
  const policy = { ...DEFAULT_TRAFFIC_POLICY, locality };
  scene.target.configure(configurationOf({ workloads: [near, far], policy }));
  t.deepEqual(picked(scene.target), ['near']);
  const sick = { ...near, healthy: false };
  scene.target.configure(configurationOf({ workloads: [sick, far], policy }));
  t.deepEqual(picked(scene.target), ['far']);
});

test('a target without endpoints, or with none that is available, names none', (t) => {
  using scene = bench();
  scene.target.configure(configurationOf({ workloads: [] }));
  t.is(scene.target.pick({}), undefined);
  const workloads = pods.map((each) => ({ ...each, healthy: false }));
  scene.target.configure(configurationOf({ workloads }));
  t.is(scene.target.pick({}), undefined);
  const policy = { ...DEFAULT_TRAFFIC_POLICY, outliers: { ...outliers, minHealthPercent: 20 } };
  scene.target.configure(configurationOf({ workloads, policy }));
  t.deepEqual(picked(scene.target), ['web-1', 'web-2']); // panic
});

test('limits hold for a target as long as it lives, whatever its configuration', (t) => {
  using scene = bench();
  const limits = {
    ...{ maxConnections: Infinity, maxPendingRequests: Infinity, maxRequests: 1 },
    ...{ maxRetries: Infinity, maxRequestsPerConnection: Infinity, maxConcurrentStreams: Infinity },
  };
  const policy = { ...DEFAULT_TRAFFIC_POLICY, circuitBreaker: limits };
  scene.target.configure(configurationOf({ policy }));
  using permit = scene.target.circuitBreaker.acquire('requests');
  t.not(permit, undefined);
  scene.target.configure(configurationOf({ policy }));
  t.is(scene.target.circuitBreaker.acquire('requests'), undefined);
});

test('an endpoint that fails its checks is not chosen, unless so few are left that all are', async (t) => {
  using scene = bench();
  scene.target.configure(configurationOf());
  t.deepEqual(picked(scene.target), ['web-1', 'web-2']);
  scene.target.onChecked(podUid('web-1'), false, false);
  t.deepEqual(picked(scene.target), ['web-2']);
  scene.target.configure(configurationOf({ passes: ({ name }) => name !== 'web-1' }));
  t.deepEqual(picked(scene.target), ['web-2'], 'also after a change of configuration');
  scene.target.onChecked(podUid('web-2'), false, false);
  t.deepEqual(picked(scene.target), ['none']);
  const policy = { ...DEFAULT_TRAFFIC_POLICY, outliers: { ...outliers, minHealthPercent: 50 } };
  scene.target.configure(configurationOf({ policy, passes: () => false }));
  t.deepEqual(picked(scene.target), ['web-1', 'web-2'], 'panic');
  scene.target.onChecked(podUid('web-1'), undefined, true);
  await scene.time.advance(1);
  t.deepEqual(
    scene.target.endpoints().map(({ state }) => state.passes),
    [true, false],
  );
});

test('a check that passes brings an ejected endpoint back at once', async (t) => {
  using scene = bench();
  scene.target.configure(configurationOf());
  const [first] = scene.target.endpoints();
  for (let count = 0; count < 3; count++)
    if (first !== undefined) scene.target.outliers.reportStatus(first.state, 500);
  t.deepEqual(picked(scene.target), ['web-2']);
  scene.target.onChecked(podUid('web-1'), true, false);
  t.deepEqual(picked(scene.target), ['web-2'], 'it failed, and is below its threshold');
  scene.target.onChecked(podUid('web-1'), true, true);
  await scene.time.advance(1);
  t.deepEqual(picked(scene.target), ['web-1', 'web-2']);
  t.deepEqual(
    scene.events.map(({ kind }) => kind),
    ['ejected', 'returned'],
  );
});
