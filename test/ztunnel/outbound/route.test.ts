import test from 'ava';
import { formatSocketAddress, parseIpAddress, parseSocketAddress } from '../../../base/address.ts';
import { OWN_PORTS } from '../../../mesh/model/ports.ts';
import { formatAuthority } from '../../../mesh/hbone/authority.ts';
import type { ExplainStep } from '../../../mesh/model/explain.ts';
import type { DemandKey } from '../../../mesh/proxy/state/answered.ts';
import { ProxyState } from '../../../mesh/proxy/state/store.ts';
import type { OutboundRequest, OutboundRoute } from '../../../ztunnel/outbound/outbound-route.ts';
import { selectRoute } from '../../../ztunnel/outbound/route.ts';
import {
  gatewayAt,
  makeService,
  makeWorkload,
  podUid,
  type ServiceFields,
  type WorkloadFields,
} from '../../support/workloads.ts';

/** A mesh of workloads and services; the client is 10.0.0.1 on node-a. */
function mesh(
  workloads: readonly WorkloadFields[],
  services: readonly ServiceFields[] = [],
  answered?: readonly string[],
): ProxyState {
  const keys = answered && new Set(answered as readonly DemandKey[]);
  const state = new ProxyState(undefined, keys);
  state.setWorkload(makeWorkload({ name: 'client', ips: ['10.0.0.1', 'fd00::a'] }));
  for (const service of services) state.setService(makeService(service));
  for (const workload of workloads) state.setWorkload(makeWorkload(workload));
  return state;
}

type Asked = Partial<OutboundRequest> & Readonly<{ from?: string }>;

function route(state: ProxyState, to: string, asked: Asked = {}): OutboundRoute {
  const { from = 'client', ...rest } = asked;
  const source = state.workload(podUid(from));
  if (source === undefined) throw new Error(`no workload ${from}`);
  return selectRoute(state, {
    source,
    sourceIp: source.addresses[0] ?? parseIpAddress('10.0.0.1'),
    destination: parseSocketAddress(to),
    network: '',
    ownPorts: OWN_PORTS,
    tried: new Set(),
    resolved: new Map(),
    random: () => 0,
    ...rest,
  });
}

/** A route in one line: kind, where to, authority, and the accounts that are accepted. */
function shape(found: OutboundRoute): string {
  const accounts = (peers: readonly string[]): string =>
    peers.map((peer) => peer.replace('spiffe://cluster.local/ns/shop/sa/', '')).join('|');
  switch (found.kind) {
    case 'hbone':
      return `${found.via} ${formatSocketAddress(found.connectTo)} ${formatAuthority(found.authority)} ${accounts(found.peers)}`;
    case 'double-hbone':
      return (
        `double ${formatSocketAddress(found.connectTo)} ${formatAuthority(found.authority)} ${accounts(found.peers)}` +
        ` / ${formatAuthority(found.inner.authority)} ${accounts(found.inner.peers)}`
      );
    case 'plain':
    case 'passthrough':
      return `${found.kind} ${formatSocketAddress(found.connectTo)}`;
    case 'resolve':
      return `resolve ${found.hostname}`;
    case 'ask':
      return `ask ${found.key}`;
    case 'reject':
      return `reject ${found.code}: ${found.reason}`;
  }
}

const routes = test.macro({
  exec(t, state: ProxyState, to: string, expected: string, asked?: Asked) {
    t.is(shape(route(state, to, asked)), expected);
  },
  title: (given = '') => `selectRoute() ${given}`,
});

const rejects = test.macro({
  exec(t, state: ProxyState, to: string, expected: RegExp, asked?: Asked) {
    const found = route(state, to, asked);
    t.is(found.kind, 'reject');
    t.regex(shape(found), expected);
  },
  title: (given = '') => `selectRoute() refuses ${given}`,
});

const api = { name: 'api', ips: ['10.0.0.2'] };
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

const WEB = 'shop/web.shop.svc.cluster.local';
const VIP = '10.96.0.1:80';
const web = { name: 'web', vips: ['10.96.0.1'] };
const backend = (
  name: string,
  ip: string,
  fields: Partial<WorkloadFields> = {},
): WorkloadFields => ({
  name,
  ips: [ip],
  serves: { [WEB]: ['80:8080'] },
  ...fields,
});
const b1 = backend('b1', '10.0.0.11');
const b2 = backend('b2', '10.0.0.12');

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
const passthrough = { ...web, loadBalancing: { mode: 'PASSTHROUGH' } } as const;
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

// Waypoints

const WAYPOINT = 'shop/waypoint.shop.svc.cluster.local';
const waypointService = { name: 'waypoint', vips: ['10.96.0.9'], ports: ['15008:15008'] };
const waypoint = (name = 'waypoint', ip = '10.0.0.9'): WorkloadFields => ({
  name,
  ips: [ip],
  serviceAccount: 'waypoint',
  serves: { [WAYPOINT]: ['15008:15008'] },
});
const byName = { waypoint: gatewayAt(WAYPOINT) };
const byAddress = { waypoint: gatewayAt('10.96.0.9') };

test(
  'destination service waypoint, by name',
  routes,
  mesh([b1, waypoint()], [{ ...web, ...byName }, waypointService]),
  VIP,
  'waypoint 10.0.0.9:15008 10.96.0.1:80 waypoint',
);
test(
  'destination service waypoint, by address',
  routes,
  mesh([b1, waypoint()], [{ ...web, ...byAddress }, waypointService]),
  VIP,
  'waypoint 10.0.0.9:15008 10.96.0.1:80 waypoint',
);
test(
  'destination service waypoint: its names are accepted',
  routes,
  mesh(
    [b1, waypoint()],
    [
      { ...web, ...byName },
      { ...waypointService, subjectAltNames: ['spiffe://cluster.local/ns/shop/sa/wp'] },
    ],
  ),
  VIP,
  'waypoint 10.0.0.9:15008 10.96.0.1:80 waypoint|wp',
);
test(
  'destination service waypoint: another instance after a failure',
  routes,
  mesh(
    [b1, waypoint(), waypoint('waypoint-2', '10.0.0.10')],
    [{ ...web, ...byName }, waypointService],
  ),
  VIP,
  'waypoint 10.0.0.10:15008 10.96.0.1:80 waypoint',
  { tried: new Set([podUid('waypoint')]) },
);
test(
  'destination service waypoint that is a workload by host name',
  routes,
  mesh(
    [b1, { name: 'waypoint', ips: ['10.0.0.9'], hostname: 'waypoint.example.com' }],
    [{ ...web, waypoint: gatewayAt('shop/waypoint.example.com') }],
  ),
  VIP,
  'waypoint 10.0.0.9:15008 10.96.0.1:80 waypoint',
);
test(
  'destination service waypoint behind an application tunnel need not declare the port',
  routes,
  mesh(
    [b1, { ...waypoint(), serves: { [WAYPOINT]: [] }, applicationTunnel: { port: 15088 } }],
    [
      { ...web, ...byName },
      { ...waypointService, ports: [] },
    ],
  ),
  VIP,
  'waypoint 10.0.0.9:15008 10.96.0.1:80 waypoint',
);
test(
  'pod addresses where only the service has a waypoint: direct',
  routes,
  mesh([b1, waypoint()], [{ ...web, ...byName }, waypointService]),
  '10.0.0.11:8080',
  'direct 10.0.0.11:15008 10.0.0.11:8080 b1',
);
test(
  'passthrough service with a waypoint: the waypoint',
  routes,
  mesh([b1, waypoint()], [{ ...passthrough, ...byName }, waypointService]),
  VIP,
  'waypoint 10.0.0.9:15008 10.96.0.1:80 waypoint',
);
test(
  'a waypoint that calls its own service: never itself',
  routes,
  mesh([b1, waypoint()], [{ ...web, ...byName }, waypointService]),
  VIP,
  'direct 10.0.0.11:15008 10.0.0.11:8080 b1',
  { from: 'waypoint' },
);
test(
  'destination waypoint of a workload',
  routes,
  mesh([{ ...api, ...byName }, waypoint()], [waypointService]),
  '10.0.0.2:80',
  'waypoint 10.0.0.9:15008 10.0.0.2:80 waypoint',
);
test(
  'source waypoint: it is not used',
  routes,
  mesh(
    [{ ...api }, { name: 'client', ips: ['10.0.0.1'], ...byName }, waypoint()],
    [waypointService],
  ),
  '10.0.0.2:80',
  'direct 10.0.0.2:15008 10.0.0.2:80 api',
);
test(
  'destination waypoint that calls its workload: direct',
  routes,
  mesh([{ ...api, ...byName }, waypoint()], [waypointService]),
  '10.0.0.2:80',
  'direct 10.0.0.2:15008 10.0.0.2:80 api',
  { from: 'waypoint' },
);
test(
  'destination waypoint, identity right but address not: through it',
  routes,
  mesh([{ ...api, ...byName }, waypoint()], [waypointService]),
  '10.0.0.2:80',
  'waypoint 10.0.0.9:15008 10.0.0.2:80 waypoint',
  { from: 'waypoint', sourceIp: parseIpAddress('10.0.0.77') },
);
test(
  'destination waypoint, address right but account not: through it',
  routes,
  mesh([{ ...api, ...byName }, waypoint()], [waypointService]),
  '10.0.0.2:80',
  'waypoint 10.0.0.9:15008 10.0.0.2:80 waypoint',
  { sourceIp: parseIpAddress('10.0.0.9') },
);
test(
  'a service without waypoint whose endpoint has one: through that, to the endpoint',
  routes,
  mesh([{ ...b1, ...byName }, waypoint()], [web, waypointService]),
  VIP,
  'waypoint 10.0.0.9:15008 10.0.0.11:8080 waypoint',
);

test(
  'a service whose waypoint is not known',
  rejects,
  mesh([b1], [{ ...web, ...byName }]),
  VIP,
  /ERR_WAYPOINT_UNAVAILABLE: the waypoint of shop\/web\S* cannot be used: shop\/waypoint\S* is not known/,
);
test(
  'a service whose waypoint has no instance',
  rejects,
  mesh([b1], [{ ...web, ...byName }, waypointService]),
  VIP,
  /ERR_WAYPOINT_UNAVAILABLE: .*no endpoints/,
);
test(
  'a service whose waypoint is not ready',
  rejects,
  mesh([b1, { ...waypoint(), healthy: false }], [{ ...web, ...byName }, waypointService]),
  VIP,
  /ERR_WAYPOINT_UNAVAILABLE: .*1 unhealthy/,
);
test(
  'a service whose waypoint the control plane could not bind',
  rejects,
  mesh([b1], [{ ...web, waypointProblem: 'namespace shop is not allowed' }]),
  VIP,
  /ERR_WAYPOINT_UNAVAILABLE: .*web.*namespace shop is not allowed/,
);
test(
  'a workload whose waypoint the control plane could not bind',
  rejects,
  mesh([{ ...api, waypointProblem: 'no such gateway' }]),
  '10.0.0.2:80',
  /ERR_WAYPOINT_UNAVAILABLE: .*api.*no such gateway/,
);
test(
  'a workload whose waypoint is not known',
  rejects,
  mesh([{ ...api, ...byName }]),
  '10.0.0.2:80',
  /ERR_WAYPOINT_UNAVAILABLE/,
);

const weighted = (first: number, second: number): ServiceFields => ({
  ...web,
  ...byName,
  weightedWaypoints: [
    { destination: gatewayAt('10.0.0.31'), weight: first },
    { destination: gatewayAt('10.0.0.32'), weight: second },
  ],
});
const two = [
  { name: 'w1', ips: ['10.0.0.31'] },
  { name: 'w2', ips: ['10.0.0.32'] },
];
for (const [random, ip] of [
  [0, '10.0.0.31'],
  [0.24, '10.0.0.31'],
  [0.26, '10.0.0.32'],
  [0.99, '10.0.0.32'],
] as const) {
  test(`weighted waypoints: ${ip} at ${random}`, (t) => {
    const found = route(mesh([b1, ...two], [weighted(1, 3)]), VIP, { random: () => random });
    t.true(shape(found).startsWith(`waypoint ${ip}:15008 10.96.0.1:80`));
  });
}
test(
  'weighted waypoints without weight: the one waypoint',
  routes,
  mesh([b1, ...two, waypoint()], [weighted(0, 0), waypointService]),
  VIP,
  'waypoint 10.0.0.9:15008 10.96.0.1:80 waypoint',
);

// Other networks

const eastWest = { name: 'gw', ips: ['192.0.2.5'], network: 'far' };
const far = { network: 'far', networkGateway: gatewayAt('192.0.2.5', 'far') };
const named = { ...web, subjectAltNames: ['spiffe://cluster.local/ns/shop/sa/remote'] };
const remote = { ...b1, ips: [], ...far };
test(
  'double hbone: an endpoint of another network',
  routes,
  mesh([remote, eastWest], [named]),
  VIP,
  'double 192.0.2.5:15008 web.shop.svc.cluster.local:80 gw / web.shop.svc.cluster.local:80 remote',
);
const gatewayService = { name: 'ew', ports: ['15008:15008'] };
test(
  'double hbone: a gateway by the name of its service',
  routes,
  mesh(
    [
      { ...remote, networkGateway: gatewayAt('shop/ew.shop.svc.cluster.local') },
      { ...eastWest, serves: { 'shop/ew.shop.svc.cluster.local': ['15008:15443'] } },
    ],
    [named, gatewayService],
  ),
  VIP,
  'double 192.0.2.5:15443 web.shop.svc.cluster.local:80 gw / web.shop.svc.cluster.local:80 remote',
);
test(
  'double hbone: a waypoint of another network',
  routes,
  mesh(
    [b1, { ...waypoint(), ...far, ips: [] }, eastWest],
    [
      { ...web, ...byName },
      { ...waypointService, subjectAltNames: ['spiffe://cluster.local/ns/shop/sa/far-waypoint'] },
    ],
  ),
  VIP,
  'double 192.0.2.5:15008 web.shop.svc.cluster.local:80 gw / web.shop.svc.cluster.local:80 far-waypoint',
);
const preferOwnNetwork = {
  ...named,
  loadBalancing: { mode: 'FAILOVER', routingPreference: ['NETWORK'] },
} as const;
test(
  'failover to remote: the own network first',
  routes,
  mesh([remote, b2, eastWest], [preferOwnNetwork]),
  VIP,
  'direct 10.0.0.12:15008 10.0.0.12:8080 b2|remote',
);
test(
  'failover to remote: then the other',
  routes,
  mesh([remote, { ...b2, healthy: false }, eastWest], [preferOwnNetwork]),
  VIP,
  'double 192.0.2.5:15008 web.shop.svc.cluster.local:80 gw / web.shop.svc.cluster.local:80 remote',
);
test(
  'an endpoint of another network without a gateway',
  rejects,
  mesh([{ ...b1, network: 'far' }], [named]),
  VIP,
  /ERR_NO_HEALTHY_UPSTREAM/,
);
test(
  'a gateway that is not known',
  rejects,
  mesh([remote], [named]),
  VIP,
  /ERR_NETWORK_GATEWAY: cannot reach network far: 192.0.2.5 is not known/,
);
test(
  'a remote service that names no identities',
  rejects,
  mesh([remote, eastWest], [web]),
  VIP,
  /ERR_NETWORK_GATEWAY: .*names no identities/,
);
test(
  'a remote service that names only what is no identity',
  rejects,
  mesh([remote, eastWest], [{ ...web, subjectAltNames: ['web.example.com'] }]),
  VIP,
  /names no identities/,
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
