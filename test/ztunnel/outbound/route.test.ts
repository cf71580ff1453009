import test from 'ava';
import { parseIpAddress, parseSocketAddress } from '../../../base/address.ts';
import { OWN_PORTS } from '../../../mesh/model/ports.ts';
import type { ExplainStep } from '../../../mesh/model/explain.ts';
import { selectRoute } from '../../../ztunnel/outbound/route.ts';
import { gatewayAt, podUid, type ServiceFields } from '../../support/workloads.ts';
import {
  mesh,
  route,
  shape,
  routes,
  rejects,
  api,
  WEB,
  VIP,
  web,
  b1,
  b2,
  passthrough,
  WAYPOINT,
  waypointService,
  waypoint,
  byName,
} from '../../support/routes.ts';

const remoteNode = { node: 'node-b' };
const tcp = { tunnelProtocol: 'NONE' } as const;

test(
  'unknown destination: passes through',
  routes,
  mesh([]),
  '192.0.2.1:80',
  'passthrough 192.0.2.1:80',
);
test(
  'unknown loopback port: passes through',
  routes,
  mesh([]),
  '127.0.0.1:80',
  'passthrough 127.0.0.1:80',
);
for (const port of [15001, 15006, 15008]) {
  test(
    `a call to its own port ${port} on loopback`,
    rejects,
    mesh([]),
    `127.0.0.1:${port}`,
    /ERR_OWN_PORT/,
  );
  test(`a call to its own port ${port} on ::1`, rejects, mesh([]), `[::1]:${port}`, /ERR_OWN_PORT/);
}
test(
  'an address of another network: passes through',
  routes,
  mesh([{ ...api, network: 'other' }]),
  '10.0.0.2:80',
  'passthrough 10.0.0.2:80',
);
test(
  'known destination, local node, tcp',
  routes,
  mesh([{ ...api, ...tcp }]),
  '10.0.0.2:80',
  'plain 10.0.0.2:80',
);
test(
  'known destination, remote node, tcp',
  routes,
  mesh([{ ...api, ...tcp, ...remoteNode }]),
  '10.0.0.2:80',
  'plain 10.0.0.2:80',
);
test(
  'known destination, local node, hbone',
  routes,
  mesh([api]),
  '10.0.0.2:80',
  'direct 10.0.0.2:15008 10.0.0.2:80 api',
);
test(
  'known destination, remote node, hbone',
  routes,
  mesh([{ ...api, ...remoteNode }]),
  '10.0.0.2:80',
  'direct 10.0.0.2:15008 10.0.0.2:80 api',
);
test(
  'known destination, native tunnel',
  routes,
  mesh([{ ...api, nativeTunnel: true }]),
  '10.0.0.2:80',
  'direct 10.0.0.2:15008 10.0.0.2:80 api',
);
test(
  'known destination of IPv6',
  routes,
  mesh([{ ...api, ips: ['fd00::2'] }]),
  '[fd00::2]:80',
  'direct [fd00::2]:15008 [fd00::2]:80 api',
);
test(
  'a host-network workload by address: passes through',
  routes,
  mesh([{ ...api, hostNetwork: true, ...tcp }]),
  '10.0.0.2:80',
  'passthrough 10.0.0.2:80',
);
test(
  'a workload with several addresses: keeps the one asked for',
  routes,
  mesh([{ ...api, ips: ['10.0.0.2', '10.0.0.3'] }]),
  '10.0.0.3:80',
  'direct 10.0.0.3:15008 10.0.0.3:80 api',
);
test(
  'a workload that was tried',
  rejects,
  mesh([api]),
  '10.0.0.2:80',
  /ERR_NO_HEALTHY_UPSTREAM: .*api was tried/,
  { tried: new Set([podUid('api')]) },
);

// Services

test(
  'a service: one of its endpoints, on the target port',
  routes,
  mesh([b1], [web]),
  VIP,
  'direct 10.0.0.11:15008 10.0.0.11:8080 b1',
);
test(
  'a service: the other endpoint after a failure',
  routes,
  mesh([b1, b2], [web]),
  VIP,
  'direct 10.0.0.12:15008 10.0.0.12:8080 b2',
  { tried: new Set([podUid('b1')]) },
);
test(
  'a service with names: they are accepted beside the endpoint',
  routes,
  mesh(
    [b1],
    [{ ...web, subjectAltNames: ['spiffe://cluster.local/ns/shop/sa/shared', 'web.example.com'] }],
  ),
  VIP,
  'direct 10.0.0.11:15008 10.0.0.11:8080 b1|shared',
);
test(
  'a service without endpoints',
  rejects,
  mesh([], [web]),
  VIP,
  /ERR_NO_HEALTHY_UPSTREAM: no healthy upstream: web\S* has no endpoints/,
);
test('a service whose endpoints were all tried', rejects, mesh([b1], [web]), VIP, /1 tried/, {
  tried: new Set([podUid('b1')]),
});
test(
  'a port that the service does not have',
  rejects,
  mesh([b1], [web]),
  '10.96.0.1:81',
  /does not declare port 81/,
);
test(
  'a tcp endpoint of a service: plain',
  routes,
  mesh([{ ...b1, ...tcp }], [web]),
  VIP,
  'plain 10.0.0.11:8080',
);
test(
  'a host-network endpoint of a service',
  routes,
  mesh([{ ...b1, ...tcp, hostNetwork: true }], [web]),
  VIP,
  'plain 10.0.0.11:8080',
);
test(
  'target port: the endpoint by name',
  routes,
  mesh([{ ...b1, serves: { [WEB]: ['80:9090'] } }], [{ ...web, ports: ['80:0'] }]),
  VIP,
  'direct 10.0.0.11:15008 10.0.0.11:9090 b1',
);
const headless = { name: 'web', ports: ['80:8080'] };
test(
  'a pod of a headless service: itself, on the port asked for',
  routes,
  mesh([b1], [headless]),
  '10.0.0.11:8080',
  'direct 10.0.0.11:15008 10.0.0.11:8080 b1',
);
const dual = mesh(
  [{ ...b1, ips: ['10.0.0.11', 'fd00::11'] }],
  [{ ...web, vips: ['10.96.0.1', 'fd00:96::1'] }],
);
test(
  'service ip families: IPv4 for an IPv4 VIP',
  routes,
  dual,
  VIP,
  'direct 10.0.0.11:15008 10.0.0.11:8080 b1',
);
test(
  'service ip families: IPv6 for an IPv6 VIP',
  routes,
  dual,
  '[fd00:96::1]:80',
  'direct [fd00::11]:15008 [fd00::11]:8080 b1',
);
test(
  'service ip families: the permitted one',
  routes,
  mesh([{ ...b1, ips: ['10.0.0.11', 'fd00::11'] }], [{ ...web, ipFamilies: 'IPV6_ONLY' }]),
  VIP,
  'direct [fd00::11]:15008 [fd00::11]:8080 b1',
);

test(
  'a passthrough service: the address asked for',
  routes,
  mesh([b1], [passthrough]),
  VIP,
  'passthrough 10.96.0.1:80',
);
test(
  'a service that the client may not see: passes through',
  routes,
  mesh([b1], [{ ...web, namespace: 'bank', namespaceOnly: true }]),
  VIP,
  'passthrough 10.96.0.1:80',
);
test(
  'an address that is a pod and a VIP: the service, for the upstream',
  routes,
  mesh([b1, { name: 'pod', ips: ['10.96.0.1'] }], [web]),
  VIP,
  'direct 10.0.0.11:15008 10.0.0.11:8080 b1',
);

// Endpoints by name

const external = {
  name: 'db',
  ips: [],
  hostname: 'db.example.com',
  serves: { [WEB]: ['80:5432'] },
  ...tcp,
};
test(
  'an endpoint by name: asks for its addresses',
  routes,
  mesh([external], [web]),
  VIP,
  'resolve db.example.com',
);
const found = new Map([['db.example.com', ['fd00::99', '192.0.2.9'].map(parseIpAddress)]]);
test(
  'an endpoint by name: takes the family of the client',
  routes,
  mesh([external], [web]),
  VIP,
  'plain 192.0.2.9:5432',
  { resolved: found },
);
test(
  'an endpoint by name without addresses: the other endpoint',
  routes,
  mesh([external, b1], [web]),
  VIP,
  'direct 10.0.0.11:15008 10.0.0.11:8080 b1',
  { resolved: new Map([['db.example.com', []]]) },
);
test(
  'a service whose only endpoint resolves to nothing',
  rejects,
  mesh([external], [web]),
  VIP,
  /ERR_NO_HEALTHY_UPSTREAM/,
  { resolved: new Map([['db.example.com', []]]) },
);

test('selectRoute() tells its steps when asked', (t) => {
  const state = mesh([b1, waypoint()], [{ ...web, ...byName }, waypointService]);
  const steps: ExplainStep[] = [];
  const source = state.workload(podUid('client'));
  if (source === undefined) throw new Error('no client');
  selectRoute(
    state,
    {
      source,
      sourceIp: parseIpAddress('10.0.0.1'),
      destination: parseSocketAddress(VIP),
      network: '',
      ownPorts: OWN_PORTS,
      tried: new Set(),
      resolved: new Map(),
      random: () => 0,
    },
    steps,
  );
  t.deepEqual(steps, [
    { step: 'service addressed', found: `${WEB} at 10.96.0.1` },
    { step: 'waypoint of the service', found: WAYPOINT },
    { step: 'waypoint instance', found: podUid('waypoint') },
  ]);
});

// On demand

const ELSEWHERE = 'shop/waypoint.shop.svc.cluster.local';

test('on demand asks for an address before it is taken for one of the outside', (t) => {
  t.is(shape(route(mesh([], [], []), '192.0.2.1:80')), 'ask /192.0.2.1');
  t.is(shape(route(mesh([], [], ['/192.0.2.1']), '192.0.2.1:80')), 'passthrough 192.0.2.1:80');
});

test('on demand asks for an address also where a workload is known there, for a service may be too', (t) => {
  const workloads = [{ name: 'web', ips: ['10.0.0.2'] }];
  t.is(shape(route(mesh(workloads, [], []), '10.0.0.2:80')), 'ask /10.0.0.2');
});

test('on demand asks for the waypoint of a service and of a workload, by name and by address', (t) => {
  const service = (waypoint: string): ServiceFields => ({
    ...{ name: 'web', vips: ['10.96.0.1'] },
    waypoint: gatewayAt(waypoint),
  });
  const workload = { name: 'web', ips: ['10.0.0.2'], waypoint: gatewayAt(ELSEWHERE) };
  const told = ['/10.96.0.1', '/10.0.0.2'];
  t.is(shape(route(mesh([], [service(ELSEWHERE)], told), '10.96.0.1:80')), `ask ${ELSEWHERE}`);
  t.is(shape(route(mesh([], [service('10.96.0.9')], told), '10.96.0.1:80')), 'ask /10.96.0.9');
  t.is(shape(route(mesh([workload], [], told), '10.0.0.2:80')), `ask ${ELSEWHERE}`);
  const missing = route(mesh([workload], [], [...told, ELSEWHERE]), '10.0.0.2:80');
  t.regex(shape(missing), /^reject ERR_WAYPOINT_UNAVAILABLE/);
});
