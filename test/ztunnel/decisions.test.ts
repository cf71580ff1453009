import test from 'ava';
import fc from 'fast-check';
import { formatSocketAddress, parseIpAddress, socketAddress } from '../../base/address.ts';
import { OWN_PORTS } from '../../mesh/model/ports.ts';
import type { Service } from '../../mesh/model/service.ts';
import { workloadIdentity, type Workload } from '../../mesh/model/workload.ts';
import type { DemandKey } from '../../mesh/proxy/state/answered.ts';
import { ProxyState } from '../../mesh/proxy/state/store.ts';
import { keyOfService } from '../../mesh/proxy/state/vips.ts';
import type { Admission } from '../../ztunnel/inbound/admission.ts';
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
        case 'ask':
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
        case 'ask':
          return false; // everything is known
        case 'resolve':
        case 'reject':
          return true;
      }
    }),
    RUNS,
  );
  t.pass();
});

/** Whether the control plane's answer for a key holds a service: by name or address. */
function isNamed(service: Service, key: DemandKey): boolean {
  return (
    keyOfService(service) === (key as string) ||
    service.addresses.some(({ ip }) => `/${ip}` === key)
  );
}

/** What a proxy knows that has asked for these keys, and what it had unasked; the order of things stays. */
function knownOf(all: ProxyState, unasked: Workload, answered: ReadonlySet<DemandKey>): ProxyState {
  const keys = [...answered];
  const state = new ProxyState(undefined, answered);
  for (const one of all.services())
    if (keys.some((key) => isNamed(one, key))) state.setService(one);
  for (const one of all.workloads())
    if (
      one.uid === unasked.uid ||
      [...one.services.keys()].some((key) => state.service(key) !== undefined) ||
      one.addresses.some((ip) => keys.some((key) => key === `${one.network}/${ip}`))
    )
      state.setWorkload(one);
  return state;
}

/** The same things, each put in once. */
function copyOf(all: ProxyState): ProxyState {
  const state = new ProxyState();
  for (const one of all.services()) state.setService(one);
  for (const one of all.workloads()) state.setWorkload(one);
  return state;
}

test('in every mesh, asking for what it needs leads a connection where knowing everything leads it', (t) => {
  let asked = 0;
  fc.assert(
    fc.property(mesh, destination, random, (all, to, draw) => {
      const source = all.workload(podUid('client'));
      if (source === undefined) return false;
      const request = {
        ...{ source, destination: to, network: '', ownPorts: OWN_PORTS, random: () => draw },
        ...{ sourceIp: parseIpAddress('10.0.0.9'), tried: new Set<never>() },
        resolved: new Map([['db.example.com', [parseIpAddress('192.0.2.1')]]]),
      };
      const answered = new Set<DemandKey>();
      let route = selectRoute(knownOf(all, source, answered), request);
      while (route.kind === 'ask') {
        if (answered.has(route.key)) return false; // it would ask for ever
        answered.add(route.key);
        asked++;
        route = selectRoute(knownOf(all, source, answered), request);
      }
      t.deepEqual(route, selectRoute(copyOf(all), request));
      return true;
    }),
    RUNS,
  );
  t.true(asked > RUNS.numRuns, `${asked} keys`);
});

test('in every mesh, asking for what it needs admits what knowing everything admits', (t) => {
  const authority = fc.oneof(
    destination.map(formatSocketAddress),
    fc.constantFrom(...HOSTS).map((key) => `${key.slice('shop/'.length)}:80`),
  );
  let asked = 0;
  fc.assert(
    fc.property(mesh, fc.nat(9), fc.nat(9), authority, (all, index, peerIndex, wanted) => {
      const local = pick(all, index);
      const peer = pick(all, peerIndex);
      const localIp = local?.addresses[0];
      const peerIp = peer?.addresses[0];
      if (!local || !peer || localIp === undefined || peerIp === undefined) return true;
      const admitIn = (state: ProxyState): Admission => {
        state.setPolicy(
          makePolicy({ name: 'here', namespace: 'shop', scope: 'WORKLOAD_SELECTOR' }),
        );
        return admitTunnel(state, {
          ...{ method: 'CONNECT', authority: wanted, workload: local, localIp, peerIp },
          ...{ peerIdentity: workloadIdentity(peer), network: '', tunnelOnLoopback: true },
          ownPorts: OWN_PORTS,
        });
      };
      const answered = new Set<DemandKey>();
      let found = admitIn(knownOf(all, local, answered));
      while (found.kind === 'ask') {
        if (answered.has(found.key)) return false; // it would ask for ever
        answered.add(found.key);
        asked++;
        found = admitIn(knownOf(all, local, answered));
      }
      // Policy may refuse before anybody is asked, and then gives its own reason.
      const outcome = (one: Admission): unknown =>
        one.kind === 'refuse' ? { kind: 'refuse', status: one.status } : one;
      t.deepEqual(outcome(found), outcome(admitIn(copyOf(all))));
      return true;
    }),
    RUNS,
  );
  t.true(asked > 300, `${asked} keys`);
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
