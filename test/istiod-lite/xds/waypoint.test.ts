import test from 'ava';
import { status } from '@grpc/grpc-js';
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, decodeAddress } from '../../../mesh/xds/codec.ts';
import { decodeServiceRoutes, SERVICE_ROUTES_TYPE } from '../../../mesh/xds/codec-routes.ts';
import { SERVICE_TRAFFIC_TYPE } from '../../../mesh/xds/codec-traffic.ts';
import type { DeltaDiscoveryResponse } from '../../../mesh/proto/gen/discovery.ts';
import {
  gatewayYaml,
  podYaml,
  serviceYaml,
  startWith,
  type TestControlPlane,
} from '../support/control-plane.ts';
import {
  broughtBy,
  connectWaypoint,
  connectZtunnel,
  waypointNode,
  ztunnelNode,
} from '../support/xds-client.ts';

const key = (name: string): string => `shop/${name}.shop.svc.cluster.local`;

function plane(files: Readonly<Record<string, string>>): Promise<TestControlPlane> {
  return startWith({ 'gateways.yaml': gatewayYaml('one') + gatewayYaml('two'), ...files });
}

function labelsIn(response: DeltaDiscoveryResponse): unknown {
  return response.resources.flatMap(({ resource }) => {
    const record = decodeAddress(resource?.value ?? new Uint8Array());
    return record.kind === 'workload' ? [record.workload.labels] : [];
  });
}

test('a waypoint is told of the services that use it, and of no others', async (t) => {
  await using control = await plane({
    'mine.yaml': serviceYaml('mine', '10.96.0.1', 'one'),
    'others.yaml': serviceYaml('other', '10.96.0.2', 'two') + serviceYaml('plain', '10.96.0.3'),
  });
  using client = await connectWaypoint(control, 'one');
  client.send({ node: waypointNode('one'), typeUrl: SERVICE_ROUTES_TYPE });
  const first = await client.next();
  t.deepEqual(broughtBy(first), [key('mine')]);
  // Empty, which is not the same as not told yet.
  const routes = decodeServiceRoutes(first.resources[0]?.resource?.value ?? new Uint8Array());
  t.deepEqual(routes, { service: routes.service, producer: new Map(), consumer: new Map() });
  client.acknowledge(first);

  // What concerns another waypoint is not even named; the next thing it hears is its own.
  control.write('others.yaml', serviceYaml('plain', '10.96.0.3'));
  await control.running.refresh();
  control.write('more.yaml', serviceYaml('more', '10.96.0.4', 'one'));
  const more = await client.next();
  t.deepEqual([broughtBy(more), more.removedResources], [[key('more')], []]);
  client.acknowledge(more);

  // A service that changes its waypoint is gone for the first.
  control.write('more.yaml', serviceYaml('more', '10.96.0.4', 'two'));
  const gone = await client.next();
  t.deepEqual([broughtBy(gone), gone.removedResources], [[], [key('more')]]);
});

test('a waypoint that comes back is told what is not its own any more', async (t) => {
  await using control = await plane({ 'mine.yaml': serviceYaml('mine', '10.96.0.1', 'two') });
  using client = await connectWaypoint(control, 'one');
  client.send({
    ...{ node: waypointNode('one'), typeUrl: SERVICE_ROUTES_TYPE },
    initialResourceVersions: new Map([[key('mine'), 'version']]),
  });
  const first = await client.next();
  t.deepEqual([broughtBy(first), first.removedResources], [[], [key('mine')]]);
});

test('a waypoint cannot ask by name for the routes of services that use another', async (t) => {
  await using control = await plane({ 'other.yaml': serviceYaml('other', '10.96.0.2', 'two') });
  using client = await connectWaypoint(control, 'one');
  client.send({
    ...{ node: waypointNode('one'), typeUrl: SERVICE_ROUTES_TYPE },
    resourceNamesSubscribe: [key('other')],
  });
  const first = await client.next();
  t.deepEqual([broughtBy(first), first.removedResources], [[], [key('other')]]);
});

test('a waypoint is told how to use a service that its routes send to, and of nothing else of it', async (t) => {
  const route = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: r, namespace: shop }
spec:
  parentRefs: [{ group: "", kind: Service, name: mine }]
  rules: [{ backendRefs: [{ name: other, port: 80 }, { group: networking.istio.io, kind: Hostname, name: plain.shop.svc.cluster.local, port: 80 }] }]
`;
  await using control = await plane({
    'mine.yaml': serviceYaml('mine', '10.96.0.1', 'one'),
    'others.yaml': serviceYaml('other', '10.96.0.2', 'two') + serviceYaml('plain', '10.96.0.3'),
    'route.yaml': route,
  });
  using client = await connectWaypoint(control, 'one');
  const node = waypointNode('one');
  client.send({ node, typeUrl: SERVICE_ROUTES_TYPE });
  t.deepEqual(broughtBy(await client.next()), [key('mine')]);
  client.send({ node, typeUrl: SERVICE_TRAFFIC_TYPE });
  t.deepEqual(broughtBy(await client.next()), [key('mine'), key('other'), key('plain')]);

  control.write('route.yaml', route.replace('name: other', 'name: mine'));
  for (const [typeUrl, brought, gone] of [
    [SERVICE_ROUTES_TYPE, [key('mine')], []],
    [SERVICE_TRAFFIC_TYPE, [], [key('other')]],
  ] as const) {
    const response = await client.next();
    t.deepEqual(
      [response.typeUrl, broughtBy(response), response.removedResources],
      [typeUrl, brought, gone],
    );
  }
});

test('a ztunnel that asks for the types of waypoints is refused', async (t) => {
  await using control = await plane({ 'mine.yaml': serviceYaml('mine', '10.96.0.1', 'one') });
  using client = await connectZtunnel(control);
  client.send({ node: ztunnelNode(), typeUrl: SERVICE_ROUTES_TYPE });
  const error = await client.ended();
  t.is(error.code, status.INVALID_ARGUMENT);
  t.regex(error.details, /are served to waypoints alone/);
});

test('labels of workloads go to waypoints alone, and no ztunnel hears of their change', async (t) => {
  const pod = (version: string): string =>
    podYaml('web-1', { ip: '10.1.0.1', labels: `istio-unknown: x, version.of: ${version}` });
  await using control = await plane({ 'pod.yaml': pod('v1') });
  using waypoint = await connectWaypoint(control, 'one');
  using ztunnel = await connectZtunnel(control);
  waypoint.send({ node: waypointNode('one'), typeUrl: ADDRESS_TYPE });
  ztunnel.send({ node: ztunnelNode(), typeUrl: ADDRESS_TYPE });
  const first = await waypoint.next();
  const labels = (version: string): unknown => [
    new Map([
      ['istio-unknown', 'x'],
      ['version.of', version],
    ]),
  ];
  t.deepEqual(labelsIn(first), labels('v1'));
  t.deepEqual(labelsIn(await ztunnel.next()), [undefined]);

  control.write('pod.yaml', pod('v2'));
  const second = await waypoint.next();
  t.deepEqual(labelsIn(second), labels('v2'));
  t.not(second.resources[0]?.version, first.resources[0]?.version);
  control.write('new.yaml', serviceYaml('new', '10.96.0.9'));
  t.deepEqual(broughtBy(await ztunnel.next()), [key('new')]);
});

test('a revision waits for the answers of waypoints, and names the one that refused it', async (t) => {
  await using control = await plane({ 'mine.yaml': serviceYaml('mine', '10.96.0.1', 'one') });
  const { xds } = control.running;
  using client = await connectWaypoint(control, 'one');
  for (const typeUrl of [ADDRESS_TYPE, AUTHORIZATION_TYPE, SERVICE_ROUTES_TYPE]) {
    client.send({ node: waypointNode('one'), typeUrl });
    client.acknowledge(await client.next());
  }
  control.write('more.yaml', serviceYaml('more', '10.96.0.4', 'one'));
  const revision = await control.running.refresh();
  // The service goes before its routes.
  const address = await client.next();
  t.is(address.typeUrl, ADDRESS_TYPE);
  client.acknowledge(address);
  const routes = await client.next();
  t.is(routes.typeUrl, SERVICE_ROUTES_TYPE);
  const early = await xds.waitFor(revision, 0);
  t.deepEqual(
    [early.done, early.laggards.map(({ reason }) => reason)],
    [false, ['not acknowledged']],
  );
  const waiting = xds.waitFor(revision, 60_000);
  client.reject(routes, `${key('more')}: it makes no sense`);
  const refused = await waiting;
  t.false(refused.done);
  t.regex(refused.laggards[0]?.reason ?? '', /rejected: .*it makes no sense/);

  control.remove('more.yaml');
  const then = await control.running.refresh();
  // What goes away goes in the reverse order.
  for (const typeUrl of [SERVICE_ROUTES_TYPE, ADDRESS_TYPE]) {
    const removal = await client.next();
    t.deepEqual([removal.typeUrl, removal.removedResources], [typeUrl, [key('more')]]);
    client.acknowledge(removal);
  }
  t.true((await xds.waitFor(then, 60_000)).done);
});

test('a waypoint hears of a VirtualService when it comes and when it goes', async (t) => {
  await using control = await plane({ 'mine.yaml': serviceYaml('mine', '10.96.0.1', 'one') });
  using client = await connectWaypoint(control, 'one');
  client.send({ node: waypointNode('one'), typeUrl: SERVICE_ROUTES_TYPE });
  const first = await client.next();
  client.acknowledge(first);
  control.write(
    'virtual.yaml',
    'apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: v, namespace: shop }\n' +
      'spec: { hosts: [mine], http: [{ route: [{ destination: { host: nowhere } }], timeout: 2s }] }\n',
  );
  const second = await client.next();
  const { producer } = decodeServiceRoutes(
    second.resources[0]?.resource?.value ?? new Uint8Array(),
  );
  client.acknowledge(second);
  t.deepEqual(
    [...producer.values()],
    [
      {
        kind: 'http',
        routes: {
          ...{ choice: 'order', grpc: false },
          rules: [
            {
              ...{ name: 'VirtualService/shop/v/0', matches: [], filters: [], timeoutMs: 2000 },
              backends: [
                {
                  problem: 'no Service or ServiceEntry has host nowhere.shop.svc.cluster.local',
                  ...{ weight: 1, filters: [] },
                },
              ],
            },
          ],
        },
      },
    ],
  );
  control.write('virtual.yaml', '');
  const third = await client.next();
  const routes = decodeServiceRoutes(third.resources[0]?.resource?.value ?? new Uint8Array());
  t.is(routes.producer.size, 0);
});
