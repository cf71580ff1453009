import test from 'ava';
import { formatSocketAddress, parseIpAddress, parseSocketAddress } from '../../base/address.ts';
import { formatAuthority } from '../../mesh/hbone/authority.ts';
import { ProxyState } from '../../mesh/proxy/state/store.ts';
import type { ServiceTarget, Target } from '../../waypoint/admit.ts';
import { selectUpstream, type RouteRequest, type UpstreamRoute } from '../../waypoint/route.ts';
import {
  gatewayAt,
  keyOf,
  makeService,
  makeWorkload,
  podUid,
  type ServiceFields,
  type WorkloadFields,
} from '../support/workloads.ts';

const WEB = 'shop/web.shop.svc.cluster.local';
const SERVES = { [WEB]: ['80:8080'] };

function mesh(workloads: readonly WorkloadFields[], web: Partial<ServiceFields> = {}): ProxyState {
  const state = new ProxyState();
  state.setService(makeService({ name: 'web', vips: ['10.96.0.1'], ...web }));
  state.setWorkload(makeWorkload({ name: 'waypoint', ips: ['10.0.0.9'], tunnelProtocol: 'NONE' }));
  for (const workload of workloads) state.setWorkload(makeWorkload(workload));
  return state;
}

function route(state: ProxyState, target: Target, asked: Partial<RouteRequest> = {}): string {
  const self = state.workload(podUid('waypoint'));
  if (self === undefined) throw new Error('no waypoint');
  const rest = { tried: new Set<never>(), resolved: new Map(), random: () => 0, ...asked };
  return shape(selectUpstream(state, { target, self, ...rest }));
}

function toService(state: ProxyState, authority = '10.96.0.1:80'): ServiceTarget {
  const service = state.service(keyOf(WEB));
  if (service === undefined) throw new Error('no service');
  const address = parseSocketAddress(authority);
  return { kind: 'service', service, port: address.port, authority: { kind: 'address', address } };
}

function toWorkload(state: ProxyState, name: string, authority: string): Target {
  const workload = state.workload(podUid(name));
  if (workload === undefined) throw new Error(`no workload ${name}`);
  const address = parseSocketAddress(authority);
  return {
    kind: 'workload',
    workload,
    port: address.port,
    authority: { kind: 'address', address },
  };
}

function shape(found: UpstreamRoute): string {
  switch (found.kind) {
    case 'hbone':
      return `hbone ${formatSocketAddress(found.connectTo)} ${formatAuthority(found.authority)} ${found.peers.join()}`;
    case 'plain':
      return `plain ${formatSocketAddress(found.connectTo)}`;
    case 'resolve':
      return `resolve ${found.hostname}`;
    case 'reject':
      return found.reason;
  }
}

test('an endpoint in the mesh is reached by HBONE, at its target port, and must be who it is', (t) => {
  const state = mesh([{ name: 'web-1', ips: ['10.0.0.1'], serves: SERVES }]);
  t.is(
    route(state, toService(state)),
    'hbone 10.0.0.1:15008 10.0.0.1:8080 spiffe://cluster.local/ns/shop/sa/web-1',
  );
});

test('an endpoint outside of the mesh is reached by plain TCP', (t) => {
  const state = mesh([
    { name: 'web-1', ips: ['10.0.0.1'], tunnelProtocol: 'NONE', serves: SERVES },
  ]);
  t.is(route(state, toService(state)), 'plain 10.0.0.1:8080');
});

test('an endpoint with a waypoint of its own is reached directly: the one of the Service stands in', (t) => {
  const waypoint = gatewayAt('shop/other.shop.svc.cluster.local');
  const state = mesh([{ name: 'web-1', ips: ['10.0.0.1'], serves: SERVES, waypoint }]);
  t.regex(route(state, toService(state)), /^hbone 10\.0\.0\.1:15008 10\.0\.0\.1:8080 /);
});

test('what was tried, or is not healthy, is not tried', (t) => {
  const state = mesh([
    { name: 'web-1', ips: ['10.0.0.1'], serves: SERVES },
    { name: 'web-2', ips: ['10.0.0.2'], serves: SERVES },
    { name: 'web-3', ips: ['10.0.0.3'], serves: SERVES, healthy: false },
  ]);
  const tried = new Set([podUid('web-1')]);
  t.regex(route(state, toService(state), { tried }), /^hbone 10\.0\.0\.2:15008 /);
  t.regex(
    route(state, toService(state), { tried: new Set([...tried, podUid('web-2')]) }),
    /^no healthy upstream: .* has no endpoint left of 3: 2 tried, 1 unhealthy/,
  );
});

test('a port that the Service does not declare leads nowhere', (t) => {
  const state = mesh([{ name: 'web-1', ips: ['10.0.0.1'], serves: SERVES }]);
  t.regex(route(state, toService(state, '10.96.0.1:81')), /^no healthy upstream: /);
});

test('an endpoint without an address is resolved first', (t) => {
  const state = mesh([
    { name: 'db', hostname: 'db.example', tunnelProtocol: 'NONE', serves: SERVES },
  ]);
  t.is(route(state, toService(state)), 'resolve db.example');
  const resolved = new Map([['db.example', [parseIpAddress('192.0.2.7')]]]);
  t.is(route(state, toService(state), { resolved }), 'plain 192.0.2.7:8080');
  const nothing = new Map([['db.example', []]]);
  t.regex(
    route(state, toService(state), { resolved: nothing }),
    /^no healthy upstream: .* has no address$/,
  );
});

test('a Service without load balancing leads to the address that was asked for', (t) => {
  const state = mesh([], { vips: ['10.97.0.0/24'], loadBalancing: { mode: 'PASSTHROUGH' } });
  t.is(route(state, toService(state, '10.97.0.5:443')), 'plain 10.97.0.5:443');
});

test('an endpoint of another network is not dialled', (t) => {
  const state = mesh([
    {
      name: 'far',
      ips: ['10.9.0.1'],
      network: 'far',
      serves: SERVES,
      networkGateway: gatewayAt('10.9.9.9'),
    },
  ]);
  t.regex(route(state, toService(state)), /is in network far, not in ours$/);
});

test('a workload is reached at the port that was asked for, once', (t) => {
  const state = mesh([{ name: 'web-1', ips: ['10.0.0.1'] }]);
  const target = toWorkload(state, 'web-1', '10.0.0.1:9000');
  t.regex(route(state, target), /^hbone 10\.0\.0\.1:15008 10\.0\.0\.1:9000 /);
  t.is(
    route(state, target, { tried: new Set([podUid('web-1')]) }),
    'no healthy upstream: Kubernetes//Pod/shop/web-1 was tried',
  );
});

const WAYPOINT = 'shop/waypoint.shop.svc.cluster.local';
const INSTANCES = { [WAYPOINT]: ['15008'] };

function behind(instances: readonly WorkloadFields[]): { state: ProxyState; target: Target } {
  const state = mesh([{ name: 'web-1', ips: ['10.0.0.1'], serves: SERVES }, ...instances]);
  state.setService(makeService({ name: 'waypoint', vips: ['10.96.0.9'], ports: ['15008'] }));
  return { state, target: { ...toService(state), waypoint: gatewayAt(WAYPOINT) } };
}

test('what must go through a waypoint is asked of one of its instances, by the address of the Service', (t) => {
  const { state, target } = behind([
    { name: 'waypoint-1', ips: ['10.0.0.11'], tunnelProtocol: 'NONE', serves: INSTANCES },
    { name: 'waypoint-2', ips: ['10.0.0.12'], tunnelProtocol: 'NONE', serves: INSTANCES },
  ]);
  t.is(
    route(state, target),
    'hbone 10.0.0.11:15008 10.96.0.1:80 spiffe://cluster.local/ns/shop/sa/waypoint-1',
  );
  const tried = new Set([podUid('waypoint-1')]);
  t.regex(route(state, target, { tried }), /^hbone 10\.0\.0\.12:15008 10\.96\.0\.1:80 /);
  t.regex(
    route(state, target, { tried: new Set([...tried, podUid('waypoint-2')]) }),
    /^no healthy upstream: the waypoint of web\..* cannot be used: .* 2 tried/,
  );
});

test('a waypoint without an instance is not gone past', (t) => {
  const { state, target } = behind([]);
  t.regex(route(state, target), /^no healthy upstream: the waypoint of .* has no endpoints$/);
});
