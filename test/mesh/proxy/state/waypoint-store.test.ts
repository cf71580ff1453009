import test from 'ava';
import { gatewayKey } from '../../../../mesh/model/gateway-listener.ts';
import type { ServiceRoutes } from '../../../../mesh/model/http-route.ts';
import type { ServiceKey } from '../../../../mesh/model/service.ts';
import type { ServiceTrafficPolicy } from '../../../../mesh/model/traffic-policy.ts';
import { serviceTarget } from '../../../../mesh/model/target-security.ts';
import { WaypointStore } from '../../../../mesh/proxy/state/waypoint-store.ts';
import { ADDRESS_TYPE } from '../../../../mesh/xds/codec.ts';
import {
  encodeGatewayListeners,
  GATEWAY_LISTENERS_TYPE,
} from '../../../../mesh/xds/codec-gateway.ts';
import {
  encodeTargetSecurity,
  TARGET_SECURITY_TYPE,
} from '../../../../mesh/xds/codec-http-policy.ts';
import { encodeServiceRoutes, SERVICE_ROUTES_TYPE } from '../../../../mesh/xds/codec-routes.ts';
import { encodeServiceTraffic, SERVICE_TRAFFIC_TYPE } from '../../../../mesh/xds/codec-traffic.ts';

const web = 'shop/web.shop.svc.cluster.local' as ServiceKey;

function routesTo(port: number): ServiceRoutes {
  const backends = [{ target: { service: web, port }, weight: 1 }];
  const routes = { kind: 'tcp', route: { name: 'r', backends } } as const;
  return { service: web, producer: new Map([[80, routes]]), consumer: new Map() };
}

const traffic: ServiceTrafficPolicy = {
  service: web,
  policy: {
    balancer: { kind: 'least-request' },
    ...{ connectTimeoutMs: 10_000, idleTimeoutMs: 3_600_000, useClientProtocol: false },
  },
  ...{ ports: new Map(), subsets: [] },
};

const raw = (routes: ServiceRoutes, name: string = web): { name: string; bytes: Uint8Array } => ({
  name,
  bytes: encodeServiceRoutes(routes),
});

test('a WaypointStore holds each kind of a service by itself, and one object of all of them', (t) => {
  const store = new WaypointStore();
  t.deepEqual(store.config(web), {});
  const first = store.apply(SERVICE_ROUTES_TYPE, [raw(routesTo(80))], []);
  t.deepEqual(first, {
    services: new Set([web]),
    securities: new Set(),
    gateways: new Set(),
    rejected: [],
  });
  const before = store.config(web);
  store.apply(SERVICE_TRAFFIC_TYPE, [{ name: web, bytes: encodeServiceTraffic(traffic) }], []);
  t.deepEqual(store.config(web), { routes: routesTo(80), traffic });
  // What a request took before goes on as it was.
  t.deepEqual(before, { routes: routesTo(80) });
  const removed = store.apply(SERVICE_ROUTES_TYPE, [], [web, 'shop/unknown']);
  t.deepEqual(removed?.services, new Set([web]));
  t.deepEqual(store.config(web), { traffic });
  store.apply(SERVICE_TRAFFIC_TYPE, [], [web]);
  t.is(store.size, 0);
});

test('a WaypointStore refuses a bad resource alone and keeps its last good version', (t) => {
  const store = new WaypointStore();
  store.apply(SERVICE_ROUTES_TYPE, [raw(routesTo(80))], []);
  const other = 'shop/other.shop.svc.cluster.local' as ServiceKey;
  const change = store.apply(
    SERVICE_ROUTES_TYPE,
    [
      { name: web, bytes: Buffer.from('no message') },
      raw({ ...routesTo(81), service: other }, other),
      raw(routesTo(82), 'shop/another-name'),
    ],
    [],
  );
  t.deepEqual(change?.services, new Set([other]));
  t.deepEqual(
    change?.rejected.map(({ name }) => name),
    [web, 'shop/another-name'],
  );
  t.regex(change?.rejected[1]?.reason ?? '', /it is of "shop\/web\.shop/);
  t.deepEqual(store.config(web).routes, routesTo(80));
});

test('a WaypointStore leaves types that are not its own to others', (t) => {
  t.is(new WaypointStore().apply(ADDRESS_TYPE, [], ['x']), undefined);
});

test('a WaypointStore tells a target without policies from one of which nothing is known', (t) => {
  const store = new WaypointStore();
  const target = serviceTarget(web);
  t.is(store.security(target), undefined);
  const security = { target, policies: [], authentications: [] };
  const bytes = encodeTargetSecurity(security);
  const change = store.apply(TARGET_SECURITY_TYPE, [{ name: target, bytes }], []);
  t.deepEqual(change?.securities, new Set([target]));
  t.deepEqual(store.security(target), security);
  const wrong = store.apply(TARGET_SECURITY_TYPE, [{ name: 'Service/shop/other', bytes }], []);
  t.regex(wrong?.rejected[0]?.reason ?? '', /it is of "Service\/shop\/web/);
  store.apply(TARGET_SECURITY_TYPE, [], [target]);
  t.is(store.security(target), undefined);
});

test('a WaypointStore holds what a gateway listens for by its own name alone', (t) => {
  const store = new WaypointStore();
  const gateway = gatewayKey('shop', 'edge');
  const listeners = { gateway, listeners: [] };
  const bytes = encodeGatewayListeners(listeners);
  const change = store.apply(GATEWAY_LISTENERS_TYPE, [{ name: gateway, bytes }], []);
  t.deepEqual(change?.gateways, new Set([gateway]));
  t.deepEqual(store.listeners(gateway), listeners);
  const wrong = store.apply(GATEWAY_LISTENERS_TYPE, [{ name: 'shop/other', bytes }], []);
  t.regex(wrong?.rejected[0]?.reason ?? '', /it is of "shop\/edge"/);
  t.deepEqual(store.apply(GATEWAY_LISTENERS_TYPE, [], [gateway])?.gateways, new Set([gateway]));
  t.is(store.listeners(gateway), undefined);
});
