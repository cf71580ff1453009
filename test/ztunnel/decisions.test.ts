import test from 'ava';
import fc from 'fast-check';
import { formatSocketAddress, parseIpAddress, socketAddress } from '../../base/address.ts';
import { OWN_PORTS } from '../../mesh/model/ports.ts';
import { workloadIdentity, type Workload } from '../../mesh/model/workload.ts';
import { ProxyState } from '../../mesh/proxy/state/store.ts';
import { admitPlaintext, admitTunnel } from '../../ztunnel/inbound/admit.ts';
import { selectRoute } from '../../ztunnel/outbound/route.ts';
import { makePolicy } from '../support/policies.ts';
import {
  gatewayAt,
  makeService,
  makeWorkload,
  podUid,
  type ServiceFields,
  type WorkloadFields,
} from '../support/workloads.ts';

/* What must hold of the decisions in any mesh, however odd. */

const NAMES = ['a', 'b', 'c', 'd'];
const HOSTS = NAMES.map((name) => `shop/${name}.shop.svc.cluster.local`);
const IPS = ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.96.0.1', '10.96.0.2', 'fd00::1', '127.0.0.1'];
const PORTS = [80, 8080, 15001, 15006, 15008];

const gateway = fc
  .constantFrom(...HOSTS, ...IPS.slice(0, 5), 'shop/unknown.example')
  .map((to) => gatewayAt(to));
const problem = fc.option(fc.constant('it is broken'), { nil: undefined, freq: 6 });
const some = <T>(list: readonly T[]): fc.Arbitrary<T[]> => fc.subarray([...list], { maxLength: 2 });

/** One of the workloads, the same for the same number. */
function pick(state: ProxyState, index: number): Workload | undefined {
  const all = [...state.workloads()];
  return all[index % all.length];
}

/** Leaves out what is `undefined`, as the model wants it. */
function present<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const kept = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(kept) as { [K in keyof T]: Exclude<T[K], undefined> };
}

const workload: fc.Arbitrary<WorkloadFields> = fc
  .record({
    name: fc.constantFrom(...NAMES),
    ips: some(IPS.slice(0, 4)),
    network: fc.constantFrom('', '', '', 'far'),
    tunnelProtocol: fc.constantFrom('HBONE' as const, 'NONE' as const),
    healthy: fc.boolean(),
    hostname: fc.constantFrom('', '', 'db.example.com'),
    serves: some(HOSTS).map((keys) =>
      Object.fromEntries(keys.map((key) => [key, ['80:8080', '15008:15008']])),
    ),
    waypoint: fc.option(gateway, { nil: undefined, freq: 3 }),
    waypointProblem: problem,
    networkGateway: fc.option(gateway, { nil: undefined }),
    applicationTunnel: fc.option(fc.constantFrom({ port: 0 }, { port: 9000 }, { port: 15006 }), {
      nil: undefined,
      freq: 4,
    }),
    policies: fc.oneof(fc.constant([]), some(['shop/here', 'shop/late'])),
  })
  .map(present);

const service: fc.Arbitrary<ServiceFields> = fc
  .record({
    name: fc.constantFrom(...NAMES),
    vips: some(IPS.slice(2, 5)),
    ports: fc.constantFrom(['80:8080'], ['80:0', '15008:15008'], ['80:15001']),
    waypoint: fc.option(gateway, { nil: undefined }),
    waypointProblem: problem,
    loadBalancing: fc.constantFrom({}, { mode: 'PASSTHROUGH' as const }, { allowUnhealthy: true }),
  })
  .map(present);

const mesh = fc
  .tuple(fc.array(workload, { maxLength: 6 }), fc.array(service, { maxLength: 4 }))
  .map(([workloads, services]) => {
    const state = new ProxyState();
    state.setWorkload(makeWorkload({ name: 'client', ips: ['10.0.0.9'] }));
    for (const one of services) state.setService(makeService(one));
    for (const one of workloads) state.setWorkload(makeWorkload(one));
    state.setPolicy(makePolicy({ name: 'here', namespace: 'shop', scope: 'WORKLOAD_SELECTOR' }));
    return state;
  });
const destination = fc
  .tuple(fc.constantFrom(...IPS), fc.constantFrom(...PORTS))
  .map(([ip, port]) => socketAddress(ip, port));
const random = fc.double({ min: 0, max: 0.999, noNaN: true });
const RUNS = { numRuns: 2500 };

test('in no mesh is a waypoint that somebody configured left out, or one called by itself', (t) => {
  let waypoints = 0;
  fc.assert(
    fc.property(mesh, destination, random, (state, to, draw) => {
      const source = state.workload(podUid('client'));
      if (source === undefined) return false;
      const route = selectRoute(state, {
        source,
        sourceIp: parseIpAddress('10.0.0.9'),
        destination: to,
        network: '',
        ownPorts: OWN_PORTS,
        tried: new Set(),
        resolved: new Map([['db.example.com', [parseIpAddress('192.0.2.1')]]]),
        random: () => draw,
      });
      const pod = state.workloadAt('', to.ip);
      const addressed = pod === undefined ? state.serviceAt('', to.ip, 'shop') : undefined;
      const guards =
        addressed ?? (state.serviceAt('', to.ip, 'shop') === undefined ? pod : undefined);
      if (guards?.waypoint === undefined && guards?.waypointProblem === undefined) return true;
      waypoints++;
      if (guards.waypointProblem !== undefined && route.kind !== 'reject') return false;
      switch (route.kind) {
        case 'hbone':
          return route.via === 'waypoint';
        case 'double-hbone':
        case 'reject':
          return true;
        case 'resolve':
          return false; // it was answered
        case 'plain':
        case 'passthrough':
          return false;
      }
    }),
    RUNS,
  );
  t.true(waypoints > 300, `${waypoints} of the meshes had one`);
});

test('in no mesh is a workload that speaks HBONE dialled plainly', (t) => {
  fc.assert(
    fc.property(mesh, destination, random, (state, to, draw) => {
      const source = state.workload(podUid('client'));
      if (source === undefined) return false;
      const route = selectRoute(state, {
        source,
        sourceIp: parseIpAddress('10.0.0.9'),
        destination: to,
        network: '',
        ownPorts: OWN_PORTS,
        tried: new Set(),
        resolved: new Map([['db.example.com', [parseIpAddress('192.0.2.1')]]]),
        random: () => draw,
      });
      switch (route.kind) {
        case 'plain':
          return route.workload.tunnelProtocol === 'NONE';
        case 'passthrough':
          return (
            route.service?.loadBalancing.mode === 'PASSTHROUGH' ||
            (state.workloadAt('', to.ip) === undefined &&
              state.serviceAt('', to.ip, 'shop') === undefined)
          );
        case 'hbone':
          return route.peers.includes(workloadIdentity(route.workload));
        case 'double-hbone':
          return route.inner.peers.length > 0;
        case 'resolve':
        case 'reject':
          return true;
      }
    }),
    RUNS,
  );
  t.pass();
});

test('in no mesh is a connection admitted to another address, to an own port, or without its policies', (t) => {
  const foreign = fc.oneof(
    destination.map(formatSocketAddress),
    fc
      .tuple(fc.constantFrom(...HOSTS), fc.constantFrom(...PORTS))
      .map(([key, port]) => `${key.slice('shop/'.length)}:${port}`),
    fc.string(),
  );
  const asked = fc.oneof(
    fc.record({ port: fc.constantFrom(...PORTS) }),
    fc.record({ authority: foreign }),
  );
  let admitted = 0;
  fc.assert(
    fc.property(mesh, fc.nat(9), asked, (state, index, wanted) => {
      const local = pick(state, index);
      const localIp = local?.addresses[0];
      if (local === undefined || localIp === undefined) return true;
      const client = state.workload(podUid('client'));
      if (client === undefined) return false;
      const found = admitTunnel(state, {
        method: 'CONNECT',
        authority:
          'port' in wanted
            ? formatSocketAddress({ ip: localIp, port: wanted.port })
            : wanted.authority,
        workload: local,
        localIp,
        peerIp: parseIpAddress('10.0.0.9'),
        peerIdentity: workloadIdentity(client),
        network: '',
        ownPorts: OWN_PORTS,
        tunnelOnLoopback: true,
      });
      if (found.kind !== 'admit') return true;
      admitted++;
      const expected =
        local.applicationTunnel === undefined
          ? localIp
          : localIp.includes(':')
            ? '::1'
            : '127.0.0.1';
      return (
        found.connectTo.ip === expected &&
        !OWN_PORTS.has(found.connectTo.port) &&
        local.waypoint === undefined &&
        local.waypointProblem === undefined &&
        // "here" is an ALLOW without rules, "late" never comes.
        local.authorizationPolicies.length === 0
      );
    }),
    RUNS,
  );
  t.true(admitted > 50, `${admitted} were admitted`);
});

test('in no mesh is plaintext admitted to another address than the one it came for', (t) => {
  let admitted = 0;
  fc.assert(
    fc.property(mesh, fc.nat(9), fc.boolean(), destination, (state, index, own, other) => {
      const local = pick(state, index);
      const to = { ip: (own ? local?.addresses[0] : undefined) ?? other.ip, port: other.port };
      const peerIp = parseIpAddress('10.0.0.9');
      const request = { workload: local, destination: to, peerIp, ownPorts: OWN_PORTS };
      const found = admitPlaintext(state, request, '');
      if (found.kind !== 'admit') return true;
      admitted++;
      return (
        found.connectTo.ip === to.ip &&
        found.connectTo.port === to.port &&
        !OWN_PORTS.has(to.port) &&
        local?.waypoint === undefined &&
        local?.authorizationPolicies.length === 0
      );
    }),
    RUNS,
  );
  t.true(admitted > 50, `${admitted} were admitted`);
});
