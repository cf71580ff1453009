import test from 'ava';
import { parseIpAddress } from '../../../base/address.ts';
import {
  candidates,
  resolveName,
  type NameResult,
  type NameScope,
  type ServiceLookup,
} from '../../../mesh/dns/names.ts';
import { serviceKey, type Service } from '../../../mesh/model/service.ts';
import { testService, testWorkload } from '../proxy/fixtures/workload.ts';

const scope: NameScope = {
  ...{ clientNamespace: 'apps', network: '', clusterDomain: 'cluster.local', ipv6: true },
};

test('candidates() completes a name as Kubernetes does, then strips each search suffix', (t) => {
  const hosts = (name: string): string[] => candidates(name, scope).map(({ host }) => host);
  t.deepEqual(hosts('a'), ['a', 'a.apps.svc.cluster.local']);
  t.deepEqual(hosts('a.b'), ['a.b', 'a.b.svc.cluster.local', 'a.b.apps.svc.cluster.local']);
  t.deepEqual(hosts('a.b.svc'), ['a.b.svc', 'a.b.svc.cluster.local', 'a.b.svc.svc.cluster.local']);
  t.deepEqual(hosts('a.b.c'), ['a.b.c', 'a.b.c.svc.cluster.local']);
  t.deepEqual(hosts('a.b.c.svc'), ['a.b.c.svc', 'a.b.c.svc.cluster.local']);
  t.deepEqual(hosts('a.b.c.d'), ['a.b.c.d']);
  t.deepEqual(hosts('a.b.c.apps.svc.cluster.local'), [
    ...['a.b.c.apps.svc.cluster.local', 'a.b.c', 'a.b.c.svc.cluster.local'],
    ...['a.b.c.apps', 'a.b.c.apps.svc'],
  ]);
  t.deepEqual(hosts(''), []);
  t.deepEqual(hosts(Array.from({ length: 127 }, () => 'a').join('.')), []);
});

const vip = service('server', { addresses: [address('10.96.0.1'), address('fd00::1')] });
const headless = service('db', {});
const external = service('x', { hostname: 'www.example.com', addresses: [address('240.0.0.1')] });
const wildcard = service('w', { hostname: '*.wild.example', addresses: [address('240.0.0.2')] });
const known = [vip, headless, external, wildcard];
const db = 'db.apps.svc.cluster.local';

const resolves = test.macro({
  exec(
    t,
    name: string,
    expected: NameResult,
    family: 4 | 6 = 4,
    services: readonly Service[] = known,
  ) {
    t.deepEqual(resolveName(lookup(services), scope, name, family), expected);
  },
  title: (given = '') => `resolveName() ${given}`,
});

test('finds a VIP by the full name', resolves, 'server.apps.svc.cluster.local', ips('10.96.0.1'));
test('finds a VIP by a short name', resolves, 'server', ips('10.96.0.1'));
test('finds a VIP by name and namespace', resolves, 'server.apps', ips('10.96.0.1'));
test('gives the address of the asked family', resolves, 'server', ips('fd00::1'), 6);
test(
  'gives the healthy endpoints of a headless service',
  resolves,
  'db',
  ips('10.0.0.1', '10.0.0.3'),
);
test('gives one IPv6 address an endpoint', resolves, 'db', ips('fd00::11'), 6);
test('forwards the name of one pod', resolves, `db-0.${db}`, { kind: 'forward' });
test('forwards what is not of the mesh', resolves, 'www.example.org', { kind: 'forward' });
test('finds an external name', resolves, 'www.example.com', ips('240.0.0.1'));
test('has no address of the other family', resolves, 'www.example.com', ips(), 6);
test(
  'names what is left without a search suffix',
  resolves,
  'www.example.com.apps.svc.cluster.local',
  { kind: 'answer', canonicalName: 'www.example.com', addresses: [parseIpAddress('240.0.0.1')] },
);
test('finds a wildcard', resolves, 'a.b.wild.example', ips('240.0.0.2'));
test(
  'gives no CNAME for a wildcard behind a search suffix',
  resolves,
  'a.wild.example.svc.cluster.local',
  ips('240.0.0.2'),
);
test('does not take the wildcard for its own parent', resolves, 'wild.example', {
  kind: 'forward',
});
test(
  'does not tell a service of another namespace that hides it',
  resolves,
  'hidden.other',
  { kind: 'forward' },
  4,
  [
    service('hidden', {
      namespace: 'other',
      namespaceOnly: true,
      addresses: [address('10.96.0.9')],
    }),
  ],
);
test(
  'prefers the service of the client’s own namespace',
  resolves,
  'www.example.com',
  ips('240.0.0.7'),
  4,
  [
    { ...external, namespace: 'other', canonical: true },
    { ...external, addresses: [address('240.0.0.7')] },
  ],
);
test('does not give addresses of another network', resolves, 'server', ips(), 4, [
  service('server', { addresses: [{ network: 'far', ip: parseIpAddress('10.96.0.1') }] }),
]);
test('gives no IPv6 address of a service that has only IPv4', resolves, 'server', ips(), 6, [
  { ...vip, ipFamilies: 'IPV4_ONLY' },
]);
test(
  'forwards an external name without an address',
  resolves,
  'www.example.com',
  { kind: 'forward' },
  4,
  [{ ...external, addresses: [] }],
);

test('resolveName() gives no IPv6 address where IPv6 is off', (t) => {
  const result = resolveName(lookup(known), { ...scope, ipv6: false }, 'server', 6);
  t.deepEqual(result, ips());
});

test('resolveName() asks for few names, whatever is asked of it (D2)', (t) => {
  let lookups = 0;
  const counting: ServiceLookup = {
    ...lookup([]),
    servicesByHost: () => {
      lookups++;
      return [];
    },
  };
  for (const labels of [4, 31, 32, 127]) {
    lookups = 0;
    const name = `${Array.from({ length: labels - 4 }, () => 'a').join('.')}.apps.svc.cluster.local`;
    resolveName(counting, scope, name.replace(/^\./, ''), 4);
    t.true(lookups < 300, `${labels} labels: ${lookups}`);
  }
});

function service(name: string, changes: Partial<Service>): Service {
  return testService(name, { hostname: `${name}.apps.svc.cluster.local`, ...changes });
}

function address(ip: string): Service['addresses'][number] {
  return { network: '', ip: parseIpAddress(ip) };
}

function ips(...texts: readonly string[]): NameResult {
  return { kind: 'answer', canonicalName: undefined, addresses: texts.map(parseIpAddress) };
}

function lookup(services: readonly Service[]): ServiceLookup {
  const key = serviceKey('apps', db);
  const pods = [
    testWorkload('db-0', { addresses: ['10.0.0.1', '10.0.0.11', 'fd00::11'].map(parseIpAddress) }),
    testWorkload('db-1', { addresses: [parseIpAddress('10.0.0.2')], healthy: false }),
    testWorkload('db-2', { addresses: [parseIpAddress('10.0.0.3')] }),
    testWorkload('db-3', { addresses: [parseIpAddress('10.0.0.4')], network: 'far' }),
  ];
  return {
    servicesByHost: (host) => services.filter((each) => each.hostname === host),
    endpoints: (asked) => new Map(asked === key ? pods.map((pod) => [pod.uid, pod]) : []),
  };
}
