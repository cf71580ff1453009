import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test from 'ava';
import { explainConnection } from '../../cli/explain-connection.ts';
import { podAdminSocket } from '../../deploy/sandbox/api.ts';
import { fetchAdmin } from '../../mesh/admin/client.ts';
import { curlIn } from '../support/mesh-curl.ts';
import { Metrics } from '../support/mesh-metrics.ts';
import { startMesh } from '../support/mesh.ts';
import { waypointPods, waypointReady, waypointYaml } from '../support/mesh-waypoints.ts';
import {
  namespaceYaml,
  podYaml,
  serverPodYaml,
  waypointServiceYaml,
} from '../support/mesh-yaml.ts';

const SERVER = `require('node:http').createServer((request, response) => {
  response.statusCode = request.url.startsWith('/bad') ? 503 : 200;
  response.end(JSON.stringify(request.headers));
}).listen(8080)`;

const RULES = `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: web, port: 80}]
  rules:
    - matches: [{path: {type: PathPrefix, value: /split}}]
      backendRefs: [{name: web, port: 80, weight: 90}, {name: gone, port: 80, weight: 10}]
    - backendRefs: [{name: web, port: 80}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-delete, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: web}]
  action: DENY
  rules: [{to: [{operation: {methods: [DELETE]}}]}]
`;

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    podYaml('client', { node: 'node-1' }),
    serverPodYaml('web-1', { labels: { app: 'web' }, program: SERVER }),
    waypointYaml('waypoint'),
    waypointServiceYaml('web'),
    RULES,
  ].join(''),
});

test.before('the waypoint runs', async () => {
  await waypointReady(mesh, 'waypoint');
});

const curl = curlIn(mesh, 'shop/client');

test.serial('halo tap shows the requests that are asked for, and ends after so many', async (t) => {
  const url = `http://${await mesh.vip('web')}`;
  const halo = join(import.meta.dirname, '../../cli/bin/halo');
  const args = ['tap', 'web.shop', '--status', '5xx', '--max', '1', '-o', 'json'];
  const tap = spawn(halo, [...args, '--name', mesh.name], { env: process.env });
  const closed = once(tap, 'close');
  t.teardown(() => tap.kill());
  const lines: string[] = [];
  createInterface(tap.stdout).on('line', (line) => lines.push(line));
  const [told] = (await once(createInterface(tap.stderr), 'line')) as [string];
  t.true(told.startsWith('watching waypoint'), told);
  await curl(`${url}/good`);
  await curl('-H', 'authorization: Bearer hunter2', `${url}/bad?token=hunter2`);
  const [code] = (await closed) as [number];
  t.is(code, 0);
  t.is(lines.length, 1);
  t.like(JSON.parse(lines[0] ?? ''), {
    ...{ method: 'GET', path: '/bad?token=<hidden>', status: 503 },
    service: 'shop/web.shop.svc.cluster.local',
  });
  t.false(lines.join().includes('hunter2'));
});

test.serial(
  'a trace begins at the waypoint where the client has none, and goes on where it has',
  async (t) => {
    const url = `http://${await mesh.vip('web')}`;
    t.regex(await curl(url), /"traceparent":"00-[0-9a-f]{32}-[0-9a-f]{16}-00"/);
    const own = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    t.true((await curl('-H', `traceparent: ${own}`, url)).includes(own));
  },
);

test.serial('halo explain tells what the waypoint does with a request, and so it is', async (t) => {
  const url = `http://${await mesh.vip('web')}`;
  const ask = (method: string, path: string): ReturnType<typeof explainConnection> =>
    explainConnection(mesh.sandbox, 'shop/client', 'web.shop:80', undefined, {
      request: { method, path, headers: [] },
    });
  const allowed = await ask('GET', '/split');
  t.true(allowed.allowed, allowed.verdict);
  t.deepEqual(
    allowed.waypoint?.backends.map(({ backend, weight, problem, endpoints }) => [
      ...[backend, weight, problem === undefined],
      endpoints.map(({ workload, state }) => `${workload} ${state}`),
    ]),
    [
      ['shop/web.shop.svc.cluster.local:80', 90, true, ['Kubernetes//Pod/shop/web-1 available']],
      ['unusable', 10, false, []],
    ],
  );
  // Behind the waypoint, the pod's own proxy is asked about the waypoint.
  t.is(allowed.inbound?.peer.identity, 'spiffe://cluster.local/ns/shop/sa/waypoint');
  t.is(allowed.inbound?.outcome.kind, 'admit');
  const denied = await ask('DELETE', '/split');
  t.false(denied.allowed);
  t.like(denied.waypoint?.outcome, {
    kind: 'refuse',
    status: 403,
    policy: 'shop/no-delete',
    rule: 0,
  });
  t.is(await curl('-o', '/dev/null', '-w', '%{http_code}', '-X', 'DELETE', url), '403');
});

test.serial(
  'the metrics page has the requests with the labels that Istio gives them',
  async (t) => {
    const url = `http://${await mesh.vip('web')}`;
    const [name = ''] = await waypointPods(mesh, 'waypoint');
    const pod = await mesh.object('Pod', name.split('/')[1] ?? '');
    const path = podAdminSocket(mesh.sandbox.paths, pod.metadata.uid ?? '');
    const read = async (): Promise<Metrics> =>
      new Metrics((await fetchAdmin({ kind: 'unix', path }, '/stats/prometheus')).body);
    const before = await read();
    await curl(url);
    const after = await read();
    const labels = {
      ...{
        reporter: 'waypoint',
        request_protocol: 'http',
        response_code: '200',
        response_flags: '-',
      },
      ...{ connection_security_policy: 'mutual_tls' },
      ...{
        source_workload: 'client',
        source_workload_namespace: 'shop',
        source_cluster: 'Kubernetes',
      },
      source_principal: 'spiffe://cluster.local/ns/shop/sa/client',
      ...{ source_app: 'client', source_version: 'latest' },
      ...{ source_canonical_service: 'client', source_canonical_revision: 'latest' },
      destination_service: 'web.shop.svc.cluster.local',
      ...{ destination_service_name: 'web', destination_service_namespace: 'shop' },
      ...{ destination_workload: 'web-1', destination_workload_namespace: 'shop' },
      destination_principal: 'spiffe://cluster.local/ns/shop/sa/default',
      ...{ destination_app: 'web', destination_version: 'latest' },
      ...{ destination_canonical_service: 'web', destination_canonical_revision: 'latest' },
      destination_cluster: 'Kubernetes',
    };
    for (const metric of [
      'istio_requests_total',
      ...['istio_request_duration_milliseconds_count', 'istio_request_bytes_count'],
      'istio_response_bytes_count',
    ])
      t.is(after.growth(before, metric, labels), 1, metric);
  },
);
