import test from 'ava';
import { parseIpAddress } from '../../../base/address.ts';
import {
  permittedFamilies,
  selectAddress,
  selectEndpoint,
  type EndpointRequest,
} from '../../../mesh/model/endpoint.ts';
import type { LoadBalancing } from '../../../mesh/model/service.ts';
import type { Workload } from '../../../mesh/model/workload.ts';
import {
  keyOf,
  makeService,
  makeWorkload,
  podUid,
  type ServiceFields,
  type WorkloadFields,
} from '../../support/workloads.ts';

const KEY = 'shop/web.shop.svc.cluster.local';
const source = {
  network: 'here',
  clusterId: 'Kubernetes',
  node: 'node-a',
  locality: { region: 'r1', zone: 'z1', subzone: 's1' },
};

function endpoint(name: string, fields: Partial<WorkloadFields> = {}): Workload {
  return makeWorkload({
    name,
    ips: ['10.0.0.1'],
    network: 'here',
    serves: { [KEY]: ['80:8080'] },
    ...fields,
  });
}

function request(
  endpoints: readonly Workload[],
  service: Partial<ServiceFields> = {},
  rest: Partial<EndpointRequest> = {},
): EndpointRequest {
  return {
    service: makeService({ name: 'web', ...service }),
    key: keyOf(KEY),
    endpoints,
    uniform: false,
    servicePort: 80,
    source,
    mode: 'standard',
    tried: new Set(),
    random: () => 0,
    ...rest,
  };
}

/** The names that are chosen over an even spread of random numbers. */
function chosen(from: EndpointRequest, draws = 100): readonly string[] {
  const names = new Set<string>();
  for (let draw = 0; draw < draws; draw++) {
    const choice = selectEndpoint({ ...from, random: () => draw / draws });
    if (choice.kind === 'endpoint') names.add(choice.workload.name);
  }
  return [...names].sort();
}

function portOf(from: EndpointRequest): number | string {
  const choice = selectEndpoint(from);
  return choice.kind === 'endpoint' ? choice.port : choice.reason;
}

test('selectEndpoint() takes the mapping of the endpoint before that of the service', (t) => {
  const own = endpoint('a', { serves: { [KEY]: ['80:9090'] } });
  t.is(portOf(request([own], { ports: ['80:8080'] })), 9090);
  t.is(portOf(request([endpoint('a', { serves: { [KEY]: [] } })], { ports: ['80:8080'] })), 8080);
});

test('selectEndpoint() takes a named port from the endpoint only', (t) => {
  const named = { ports: ['80:0'] };
  const mapped = endpoint('mapped', { serves: { [KEY]: ['80:8081'] } });
  const unmapped = endpoint('unmapped', { serves: { [KEY]: [] } });
  t.deepEqual(chosen(request([mapped, unmapped], named)), ['mapped']);
  t.regex(String(portOf(request([unmapped], named))), /no endpoint left of 1: .*1 without port/);
});

test('selectEndpoint() refuses a port that the service does not declare', (t) => {
  t.regex(String(portOf(request([endpoint('a')], {}, { servicePort: 81 }))), /does not declare/);
});

test('selectEndpoint() finds an undeclared waypoint port behind an application tunnel only', (t) => {
  const tunnelled = endpoint('t', { applicationTunnel: { port: 0 }, serves: { [KEY]: [] } });
  const waypoint = { servicePort: 15008, mode: 'waypoint' } as const;
  t.is(portOf(request([tunnelled], {}, waypoint)), 15008);
  t.is(selectEndpoint(request([endpoint('a')], {}, waypoint)).kind, 'none');
  t.is(selectEndpoint(request([tunnelled], {}, { servicePort: 15008 })).kind, 'none');
});

test('selectEndpoint() leaves out what failed already', (t) => {
  const both = [endpoint('a'), endpoint('b')];
  t.deepEqual(chosen(request(both, {}, { tried: new Set([podUid('a')]) })), ['b']);
  const all = new Set([podUid('a'), podUid('b')]);
  t.regex(String(portOf(request(both, {}, { tried: all }))), /2 tried/);
});

test('selectEndpoint() uses unhealthy endpoints only where the service asks for it', (t) => {
  const both = [endpoint('up'), endpoint('down', { healthy: false })];
  t.deepEqual(chosen(request(both)), ['up']);
  const allowUnhealthy = { loadBalancing: { allowUnhealthy: true } };
  t.deepEqual(chosen(request(both, allowUnhealthy)), ['down', 'up']);
});

test('selectEndpoint() weighs by capacity, and capacity 0 takes nothing', (t) => {
  const three = [
    endpoint('one', { capacity: 1 }),
    endpoint('none', { capacity: 0 }),
    endpoint('three', { capacity: 3 }),
  ];
  const counts = new Map<string, number>();
  for (let draw = 0; draw < 400; draw++) {
    const choice = selectEndpoint(request(three, {}, { random: () => draw / 400 }));
    if (choice.kind === 'endpoint')
      counts.set(choice.workload.name, (counts.get(choice.workload.name) ?? 0) + 1);
  }
  t.deepEqual([...counts].sort(), [
    ['one', 100],
    ['three', 300],
  ]);
  t.is(selectEndpoint(request([endpoint('none', { capacity: 0 })])).kind, 'none');
});

test('selectEndpoint() leaves out endpoints without any way to them', (t) => {
  const gateway = {
    destination: { kind: 'address', network: 'there', ip: parseIpAddress('192.0.2.1') },
    hboneMtlsPort: 15008,
  } as const;
  const endpoints = [
    endpoint('nowhere', { ips: [] }),
    endpoint('by-name', { ips: [], hostname: 'db.example.com' }),
    endpoint('remote', { ips: [], network: 'there', networkGateway: gateway }),
    endpoint('cut-off', { network: 'there' }),
  ];
  t.deepEqual(chosen(request(endpoints)), ['by-name', 'remote']);
});

test('selectEndpoint() leaves out endpoints of a family that the service forbids', (t) => {
  const endpoints = [endpoint('four'), endpoint('six', { ips: ['fd00::1'] })];
  t.deepEqual(chosen(request(endpoints, { ipFamilies: 'IPV6_ONLY' })), ['six']);
  t.deepEqual(chosen(request(endpoints, { ipFamilies: 'IPV4_ONLY' })), ['four']);
  t.deepEqual(chosen(request(endpoints)), ['four', 'six']);
});

test('selectEndpoint() says when a service has no endpoints', (t) => {
  t.is(portOf(request([])), 'web.shop.svc.cluster.local has no endpoints');
});

const at = (region: string, zone: string, subzone = ''): Partial<WorkloadFields> => ({
  locality: { region, zone, subzone },
  node: 'node-b',
});
const balancing = (
  mode: LoadBalancing['mode'],
  ...routingPreference: LoadBalancing['routingPreference']
): Partial<ServiceFields> => ({ loadBalancing: { mode, routingPreference } });

const spread = [
  endpoint('node', { locality: source.locality }),
  endpoint('zone', at('r1', 'z1')),
  endpoint('region', at('r1', 'z2')),
  endpoint('far', at('r2', 'z1')),
];

test('STRICT takes only endpoints that match every scope', (t) => {
  t.deepEqual(chosen(request(spread, balancing('STRICT', 'NODE'))), ['node']);
  t.deepEqual(chosen(request(spread, balancing('STRICT', 'REGION', 'ZONE'))), ['node', 'zone']);
  t.deepEqual(chosen(request(spread.slice(3), balancing('STRICT', 'REGION'))), []);
});

test('FAILOVER takes the best rank and stops at the first mismatch', (t) => {
  const preferSameNode = balancing('FAILOVER', 'REGION', 'ZONE', 'NODE');
  t.deepEqual(chosen(request(spread, preferSameNode)), ['node']);
  t.deepEqual(chosen(request(spread.slice(1), preferSameNode)), ['zone']);
  t.deepEqual(chosen(request(spread.slice(2), preferSameNode)), ['region']);
  // "far" has our zone's name in another region: the mismatch of REGION stops the scan.
  t.deepEqual(chosen(request(spread.slice(3), preferSameNode)), ['far']);
});

test('FAILOVER goes on to the next rank when the best has been tried', (t) => {
  const tried = new Set([podUid('node')]);
  const failover = balancing('FAILOVER', 'REGION', 'ZONE', 'NODE');
  t.deepEqual(chosen(request(spread, failover, { tried })), ['zone']);
});

test('FAILOVER with NETWORK first prefers any endpoint of our network, then orders the remote ones', (t) => {
  const networkGateway = {
    destination: { kind: 'address', network: 'there', ip: parseIpAddress('192.0.2.1') },
    hboneMtlsPort: 15008,
  } as const;
  const remote = { network: 'there', networkGateway };
  const preferClose = balancing('FAILOVER', 'NETWORK', 'REGION', 'ZONE');
  const near = endpoint('remote-near', { ...at('r1', 'z1'), ...remote });
  const far = endpoint('remote-far', { ...at('r2', 'z2'), ...remote });
  const local = endpoint('local-far', at('r3', 'z3'));
  t.deepEqual(chosen(request([near, far, local], preferClose)), ['local-far']);
  t.deepEqual(chosen(request([near, far], preferClose)), ['remote-near']);
});

test('without a mode all endpoints are used', (t) => {
  t.deepEqual(chosen(request(spread, balancing('UNSPECIFIED', 'NODE'))), [
    'far',
    'node',
    'region',
    'zone',
  ]);
});

const many = Array.from({ length: 200 }, (_, index) =>
  endpoint(`e${index}`, { healthy: index % 10 !== 0 }),
);

test('of many equal endpoints each usable one is drawn as often as the others', (t) => {
  const counts = new Map<string, number>();
  let seed = 1;
  const random = (): number => (seed = (seed * 48_271) % 0x7fff_ffff) / 0x7fff_ffff;
  for (let draw = 0; draw < 36_000; draw++) {
    const choice = selectEndpoint(request(many, {}, { uniform: true, random }));
    if (choice.kind === 'none') throw new Error(choice.reason);
    t.is(choice.port, 8080);
    counts.set(choice.workload.name, (counts.get(choice.workload.name) ?? 0) + 1);
  }
  t.is(counts.size, 180);
  // 200 expected of each, standard deviation 14.
  t.true([...counts.values()].every((count) => count > 120 && count < 280));
});

test('of many equal endpoints the one that is left is found', (t) => {
  const tried = new Set(many.map(({ uid }) => uid).filter((uid) => uid !== podUid('e7')));
  t.deepEqual(chosen(request(many, {}, { uniform: true, tried }), 10), ['e7']);
  const all = new Set(many.map(({ uid }) => uid));
  t.is(selectEndpoint(request(many, {}, { uniform: true, tried: all })).kind, 'none');
});

test('many endpoints with preferences are all looked at', (t) => {
  const mixed = [...many, endpoint('near', at('r1', 'z1'))].map((one) =>
    one.name === 'near' ? one : { ...one, locality: { region: 'r9', zone: '', subzone: '' } },
  );
  const failover = balancing('FAILOVER', 'REGION');
  t.deepEqual(chosen(request(mixed, failover, { uniform: true }), 20), ['near']);
});

test('endpoints that share nothing have ports of their own', (t) => {
  const own = many.map((one, index) => ({
    ...one,
    services: new Map([
      [keyOf(KEY), [{ servicePort: 80, targetPort: 1000 + index, appProtocol: 'TCP' as const }]],
    ]),
  }));
  for (let draw = 0; draw < 50; draw++) {
    const random = (): number => draw / 50;
    for (const uniform of [true, false]) {
      const choice = selectEndpoint(request(own, {}, { uniform, random }));
      if (choice.kind === 'none') throw new Error(choice.reason);
      t.is(choice.port, 1000 + Number(choice.workload.name.slice(1)));
    }
  }
});

test('permittedFamilies() puts the family of the client first', (t) => {
  t.deepEqual(permittedFamilies('AUTOMATIC', 6), [6, 4]);
  t.deepEqual(permittedFamilies('DUAL', 4), [4, 6]);
  t.deepEqual(permittedFamilies('IPV4_ONLY', 6), [4]);
  t.deepEqual(permittedFamilies('IPV6_ONLY', 4), [6]);
});

test('selectAddress() keeps the address that was asked for, else goes by family', (t) => {
  const addresses = ['10.0.0.1', '10.0.0.2', 'fd00::1'].map(parseIpAddress);
  const ask = (ip: string, ...families: readonly (4 | 6)[]): string | undefined =>
    selectAddress(addresses, parseIpAddress(ip), families);
  t.is(ask('10.0.0.2', 6), '10.0.0.2');
  t.is(ask('10.96.0.1', 4, 6), '10.0.0.1');
  t.is(ask('10.96.0.1', 6, 4), 'fd00::1');
  t.is(selectAddress([], parseIpAddress('10.0.0.1'), [4, 6]), undefined);
});
