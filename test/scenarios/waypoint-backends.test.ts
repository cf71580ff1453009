import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { podAdminSocket } from '../../deploy/sandbox/api.ts';
import { fetchAdmin, fetchAdminJson, type AdminTarget } from '../../mesh/admin/client.ts';
import type { EndpointEvent, ReportedTarget } from '../../mesh/model/endpoint-report.ts';
import { curlIn } from '../support/mesh-curl.ts';
import { Metrics } from '../support/mesh-metrics.ts';
import { startMesh } from '../support/mesh.ts';
import { waypointPods, waypointReady, waypointYaml } from '../support/mesh-waypoints.ts';
import {
  httpServiceYaml,
  namespaceYaml,
  podYaml,
  serverPodYaml,
  waypointServiceYaml,
} from '../support/mesh-yaml.ts';

/** Well until it is told otherwise; counts who checks it. */
const SERVER = `let status = 200, answers = 200, checks = 0, agent = '';
require('node:http').createServer((request, response) => {
  if (request.url === '/healthz') {
    checks++;
    agent = request.headers['user-agent'];
    response.statusCode = status;
    return response.end();
  }
  if (request.url.startsWith('/become/')) status = Number(request.url.slice(8));
  if (request.url.startsWith('/answer/')) answers = Number(request.url.slice(8));
  else response.statusCode = answers;
  response.setHeader('x-pod', process.env.POD_NAME);
  response.end(JSON.stringify({ checks, agent }));
}).listen(8080)`;

function pod(name: string, app: string): string {
  return serverPodYaml(name, { labels: { app }, program: SERVER });
}

const POLICY = `---
apiVersion: halo.dev/v1alpha1
kind: BackendPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: web}]
  healthCheck: {type: HTTP, interval: 200ms, unhealthyThreshold: 2, healthyThreshold: 1, http: {path: /healthz}}
  fallback: {backendRef: {name: spare, port: 80}}
`;

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    podYaml('client', { node: 'node-1' }),
    ...[pod('web-1', 'web'), pod('web-2', 'web'), pod('spare-1', 'spare')],
    waypointYaml('waypoint'),
    waypointServiceYaml('web'),
    httpServiceYaml('spare'),
    POLICY,
  ].join(''),
});

const curl = curlIn(mesh, 'shop/client');
let admin: AdminTarget = { kind: 'unix', path: '' };

test.before('the waypoint runs', async () => {
  await waypointReady(mesh, 'waypoint');
  const [name = ''] = await waypointPods(mesh, 'waypoint');
  const { metadata } = await mesh.object('Pod', name.split('/')[1] ?? '');
  admin = { kind: 'unix', path: podAdminSocket(mesh.sandbox.paths, metadata.uid ?? '') };
});

/** Which pods have answered to so many requests. */
async function answering(count = 12): Promise<string[]> {
  const url = `http://${await mesh.vip('web')}/`;
  const pods = new Set<string>();
  for (let index = 0; index < count; index++)
    pods.add(/^x-pod: (\S+)/m.exec(await curl('-i', url))?.[1] ?? 'nobody');
  return [...pods].sort();
}

async function targetsOf(service: string): Promise<readonly ReportedTarget[]> {
  const targets = (await fetchAdminJson(admin, '/endpoints')) as readonly ReportedTarget[];
  return targets.filter(({ target }) => target.includes(`${service}.shop`));
}

/** Until so many endpoints may be asked: one whose first check comes while it is slow may not, until the next. */
async function untilAvailable(count: number): Promise<void> {
  const ended = AbortSignal.timeout(20_000);
  for (;;) {
    await answering(1); // the waypoint has endpoints of a service once somebody asks for it
    const [target] = await targetsOf('web');
    const available = target?.endpoints.filter(({ condition }) => condition === 'available');
    if (available?.length === count) return;
    ended.throwIfAborted();
  }
}

async function until(what: (events: readonly EndpointEvent[]) => boolean): Promise<void> {
  const ended = AbortSignal.timeout(20_000);
  for (;;) {
    const events = (await fetchAdminJson(admin, '/events')) as readonly EndpointEvent[];
    if (what(events)) return;
    ended.throwIfAborted();
  }
}

const isAbout =
  (podName: string, kind: EndpointEvent['kind']) =>
  (events: readonly EndpointEvent[]): boolean =>
    events.findLast(({ endpoint }) => endpoint.endsWith(podName))?.kind === kind;

/** Past the waypoint. */
async function become(podName: string, status: number): Promise<void> {
  await curl(`http://${await mesh.ip(`shop/${podName}`)}:8080/become/${status}`);
}

test.serial('an endpoint that fails its checks gets no requests, and is seen to', async (t) => {
  await untilAvailable(2);
  t.deepEqual(await answering(), ['web-1', 'web-2']);
  const seen = await curl(`http://${await mesh.ip('shop/web-1')}:8080/`);
  t.regex(seen, /"agent":"halo-health-check"/);
  await become('web-1', 500);
  await until(isAbout('web-1', 'unhealthy'));
  t.deepEqual(await answering(), ['web-2']);
  const [target] = await targetsOf('web');
  t.deepEqual(target?.endpoints.map(({ condition }) => condition).sort(), [
    'available',
    'failing-checks',
  ]);
  const metrics = new Metrics((await fetchAdmin(admin, '/stats/prometheus')).body);
  const service = 'shop/web.shop.svc.cluster.local';
  t.true(metrics.sum('halo_health_checks_total', { service, result: 'failed' }) >= 2);
  t.is(metrics.sum('envoy_cluster_membership_healthy', { cluster_name: target?.target ?? '' }), 1);
});

test.serial(
  'with all endpoints failing, the fallback answers, until one is well again',
  async (t) => {
    await become('web-2', 503);
    await until(isAbout('web-2', 'unhealthy'));
    t.deepEqual(await answering(4), ['spare-1']);
    await become('web-1', 200);
    await until(isAbout('web-1', 'healthy'));
    t.deepEqual(await answering(4), ['web-1']);
  },
);

test.serial('halo waypoint endpoints tells of both', async (t) => {
  const halo = join(import.meta.dirname, '../../cli/bin/halo');
  const args = ['waypoint', 'endpoints', 'waypoint', '-n', 'shop', '--name', mesh.name];
  const { stdout } = await promisify(execFile)(halo, args);
  t.log(stdout);
  t.regex(stdout, /web\.shop\.svc\.cluster\.local +\S+:8080 +available/);
  t.regex(stdout, /failing-checks/);
  t.regex(stdout, /unhealthy +Kubernetes\/\/Pod\/shop\/web-2 +it answers 503/);
});

test.serial('without the policy nobody is checked, and everybody is asked again', async (t) => {
  await mesh.delete('BackendPolicy', 'web');
  await mesh.settled();
  t.deepEqual(await answering(), ['web-1', 'web-2']);
  const counted = async (): Promise<string> =>
    /"checks":(\d+)/.exec(await curl(`http://${await mesh.ip('shop/web-1')}:8080/`))?.[1] ?? '';
  const before = await counted();
  await answering(10);
  t.is(await counted(), before);
});

const EJECTION = `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web
  trafficPolicy:
    outlierDetection: {consecutive5xxErrors: 2, interval: 1s, baseEjectionTime: 5s, maxEjectionPercent: 50}
`;

test.serial(
  'an ejection, and the return from it, are seen in state, events and metrics',
  async (t) => {
    await mesh.apply(EJECTION);
    await mesh.settled();
    // Who watches for outliers prefers the nearest, which one of them may be.
    const [near = ''] = await answering();
    const answer = async (status: number): Promise<void> => {
      await curl(`http://${await mesh.ip(`shop/${near}`)}:8080/answer/${status}`);
    };
    await answer(500);
    await answering();
    t.false((await answering(6)).includes(near));
    const events = (await fetchAdminJson(admin, '/events')) as readonly EndpointEvent[];
    const last = events.at(-1);
    t.like(last, { kind: 'ejected', reason: 'consecutive_5xx' });
    t.regex(last?.endpoint ?? '', new RegExp(near));
    const [target] = await targetsOf('web');
    t.deepEqual(target?.endpoints.map(({ condition }) => condition).sort(), [
      'available',
      'ejected',
    ]);
    t.is(target?.ejections, 1);
    const cluster = { cluster_name: target?.target ?? '' };
    const ejected = async (): Promise<number> =>
      new Metrics((await fetchAdmin(admin, '/stats/prometheus')).body).sum(
        'envoy_cluster_outlier_detection_ejections_active',
        cluster,
      );
    t.is(await ejected(), 1);
    await answer(200);
    await until((all) => all.at(-1)?.kind === 'returned');
    t.true((await answering()).includes(near));
    t.is(await ejected(), 0);
  },
);
