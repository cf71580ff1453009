import test from 'ava';
import { gatewayKey, type GatewayListener } from '../../../mesh/model/gateway-listener.ts';
import type { TcpRoute } from '../../../mesh/model/http-route.ts';
import { parseSpiffeId } from '../../../mesh/model/identity.ts';
import { gatewayTarget } from '../../../mesh/model/target-security.ts';
import { ProxyState } from '../../../mesh/proxy/state/store.ts';
import { WaypointStore } from '../../../mesh/proxy/state/waypoint-store.ts';
import { encodeTargetSecurity, TARGET_SECURITY_TYPE } from '../../../mesh/xds/codec-http-policy.ts';
import type { Outcome } from '../../../waypoint/explain-story.ts';
import { explainAtGateway } from '../../../waypoint/gateway/explain.ts';
import { GatewayRoutes } from '../../../waypoint/gateway/gateway-routes.ts';
import { Security } from '../../../waypoint/security.ts';
import { UpstreamTargets } from '../../../waypoint/upstream/targets.ts';
import { HandClock } from '../../support/hand-clock.ts';
import { gatewayAt, keyOf, makeService, makeWorkload } from '../../support/workloads.ts';

const WEB = keyOf('shop/web.shop.svc.cluster.local');
const OWN = gatewayTarget('edge', 'public-istio');
const identity = parseSpiffeId('spiffe://cluster.local/ns/edge/sa/public-istio');
const target = { service: WEB, port: 80 };
const bytes: TcpRoute = { name: 'TCPRoute/shop/bytes/0', backends: [{ target, weight: 1 }] };
const tls = { certificates: [{ chainPem: '', keyPem: '' }] };

function http(name: string, port: number, hostname: string, more: object = {}): GatewayListener {
  const rule = {
    name: 'HTTPRoute/shop/web/0',
    matches: [{ path: { kind: 'prefix', value: '/' } as const, headers: [], queryParams: [] }],
    filters: [{ kind: 'rewrite', path: { kind: 'prefix', replacement: '/behind' } } as const],
    backends: [{ target, weight: 1, filters: [] }],
  };
  const routes = { choice: 'precedence', grpc: false, rules: [rule] } as const;
  const serves = { kind: 'http', hosts: [{ hostnames: [''], routes }] } as const;
  return { name, port, hostname, serves, ...more };
}

const LISTENERS: readonly GatewayListener[] = [
  http('http', 80, ''),
  http('https', 443, 'a.example.com', { tls }),
  {
    ...{ name: 'tls', port: 8443, hostname: 'b.example.com' },
    serves: { kind: 'passthrough', hosts: [{ hostnames: ['b.example.com'], route: bytes }] },
  },
  {
    ...{ name: 'tcp', port: 9000, hostname: '' },
    serves: { kind: 'tcp', hosts: [{ hostnames: [''], route: bytes }] },
  },
  { name: 'udp', port: 53, hostname: '', serves: { kind: 'udp', route: bytes } },
];

/** What a gateway at 10.0.0.5 says of a request for a host, with the service's waypoint between or not. */
function explain(
  host: string,
  port: number,
  { isBehindWaypoint = false } = {},
): ReturnType<typeof explainAtGateway> {
  const state = new ProxyState();
  const store = new WaypointStore();
  const security = { target: OWN, authentications: [], policies: [] };
  store.apply(TARGET_SECURITY_TYPE, [{ name: OWN, bytes: encodeTargetSecurity(security) }], []);
  const waypoint = gatewayAt('shop/waypoint.shop.svc.cluster.local');
  const asks = isBehindWaypoint ? { waypoint, ingressUseWaypoint: true } : {};
  state.setService(makeService({ name: 'web', vips: ['10.96.0.1'], ...asks }));
  state.setService(makeService({ name: 'waypoint', vips: ['10.96.0.9'], ports: ['15008'] }));
  const self = makeWorkload({ name: 'public', namespace: 'edge', ips: ['10.0.0.5'] });
  const instance = { [keyOf('shop/waypoint.shop.svc.cluster.local')]: ['15008'] };
  for (const workload of [
    makeWorkload({ name: 'web-1', ips: ['10.0.0.1'], serves: { [WEB]: ['80:8080'] } }),
    makeWorkload({ name: 'waypoint-1', ips: ['10.0.0.11'], serves: instance }),
    self,
  ])
    state.setWorkload(workload);
  using targets = new UpstreamTargets({
    ...{ state, store, network: '', isIngress: true, clock: new HandClock(0) },
    self: () => self,
  });
  using own = new Security({ store, gateway: OWN, identity, now: Date.now });
  return explainAtGateway(
    {
      ...{ store, targets, security: own },
      gateway: new GatewayRoutes({
        gateway: gatewayKey('edge', 'public-istio'),
        listeners: LISTENERS,
      }),
      self: { name: 'public-1', namespace: 'edge', identity, workload: self },
    },
    {
      ...{ source: '192.0.2.1', identity: undefined, target: `10.0.0.5:${port}` },
      ...{ method: 'GET', path: '/a', headers: [['host', `${host}:${port}`]] },
    },
  );
}

const outcomes: readonly (readonly [string, number, Outcome['kind'], string])[] = [
  ['a.example.com', 80, 'forward', 'to shop/web.shop.svc.cluster.local:80'],
  ['a.example.com', 443, 'forward', 'to shop/web.shop.svc.cluster.local:80'],
  ['b.example.com', 443, 'refuse', 'no listener is for b.example.com'],
  [
    'b.example.com',
    8443,
    'bytes',
    'TCPRoute/shop/bytes/0 routes bytes, in which no request is seen',
  ],
  ['a.example.com', 8443, 'refuse', 'no listener is for a.example.com'],
  [
    'a.example.com',
    9000,
    'bytes',
    'TCPRoute/shop/bytes/0 routes bytes, in which no request is seen',
  ],
  ['a.example.com', 53, 'bytes', 'TCPRoute/shop/bytes/0 forwards datagrams, which no policy sees'],
  ['a.example.com', 81, 'refuse', 'no listener is for port 81'],
  ['%61', 80, 'refuse', '%61:80 is no host with a port'],
];
for (const [host, port, kind, reason] of outcomes)
  test(`a gateway tells of ${host} at its port ${port}: ${kind}`, (t) => {
    const { outcome } = explain(host, port);
    t.is(outcome.kind, kind, outcome.reason);
    t.true(outcome.reason.startsWith(reason), outcome.reason);
  });

test('a gateway tells how it comes to the next hop, and with which request', (t) => {
  const { next } = explain('a.example.com', 443);
  t.like(next, {
    ...{ via: 'direct', connectTo: '10.0.0.1:15008', authority: '10.0.0.1:8080' },
    source: { ip: '10.0.0.5', identity },
  });
  t.is(next?.request.path, '/behind/a');
  const headers = new Map(next?.request.headers);
  t.is(headers.get('host'), 'a.example.com');
  t.is(headers.get('x-forwarded-proto'), 'https');
  t.is(headers.get('x-forwarded-for'), '192.0.2.1');
});

test('a gateway tells that the next hop is a waypoint, and what it asks for there', (t) => {
  for (const port of [80, 9000])
    t.like(explain('a.example.com', port, { isBehindWaypoint: true }).next, {
      ...{ via: 'waypoint', workload: 'Kubernetes//Pod/shop/waypoint-1' },
      ...{ connectTo: '10.0.0.11:15008', authority: '10.96.0.1:80' },
    });
});

test('what is refused at the gateway has no next hop', (t) => {
  t.is(explain('b.example.com', 443).next, undefined);
});
