import test from 'ava';
import type { LoadBalancing } from '../../../mesh/model/service.ts';
import type { LocalityPolicy } from '../../../mesh/model/traffic-policy.ts';
import type { Endpoint } from '../../../waypoint/balance/endpoint.ts';
import {
  localityMatches,
  sortIntoLevels,
  type BalancerSource,
} from '../../../waypoint/balance/levels.ts';
import { makeEndpoint } from '../../support/endpoints.ts';

/** An endpoint that is called by its place, `region/zone/subzone@node`. */
function at(place: string, labels: Readonly<Record<string, string>> = {}): Endpoint {
  const [locality = '', node = 'node-x'] = place.split('@');
  const [region = '', zone = '', subzone = ''] = locality.split('/');
  return makeEndpoint(place, {
    workload: { locality: { region, zone, subzone }, node },
    labels: new Map(Object.entries(labels)),
  });
}

const source: BalancerSource = {
  ...{ network: '', clusterId: 'Kubernetes', node: 'node-a' },
  locality: { region: 'r1', zone: 'z1', subzone: 's1' },
  labels: new Map([['version', 'v1']]),
};
const anywhere: LoadBalancing = {
  ...{ routingPreference: [], mode: 'UNSPECIFIED', allowUnhealthy: false },
};
const places = ['r1/z1/s1@node-a', 'r1/z1/s2', 'r1/z2/s1', 'r2/z1/s1', 'r3/z9/s9'];

function levelsOf(
  endpoints: readonly Endpoint[],
  locality: Partial<LocalityPolicy> | undefined,
  loadBalancing: LoadBalancing = anywhere,
): string[][] {
  const whole = locality && { distribute: [], failover: [], failoverPriority: [], ...locality };
  return sortIntoLevels(endpoints, { source, loadBalancing, locality: whole }).map((level) =>
    level.flatMap(({ weight, endpoints: members }) =>
      members.map(({ workload }) => (weight === 1 ? workload.name : `${workload.name} ${weight}`)),
    ),
  );
}

const all = places.map((place) => at(place));

test('sortIntoLevels() makes one level where nothing is preferred', (t) => {
  t.deepEqual(levelsOf(all, undefined), [places]);
  t.deepEqual(levelsOf([], undefined), []);
});

test('sortIntoLevels() prefers the nearest where a rule watches for outliers and says no more', (t) => {
  t.deepEqual(levelsOf(all, {}), [
    ['r1/z1/s1@node-a'],
    ['r1/z1/s2'],
    ['r1/z2/s1'],
    ['r2/z1/s1', 'r3/z9/s9'],
  ]);
});

test('sortIntoLevels() fails over to the region that a rule names first', (t) => {
  const failover = [
    { from: 'r2', to: 'r1' },
    { from: 'r1', to: 'r3' },
  ];
  t.deepEqual(levelsOf(all, { failover }).slice(3), [['r3/z9/s9'], ['r2/z1/s1']]);
});

test('sortIntoLevels() leaves no gaps between levels', (t) => {
  t.deepEqual(levelsOf([at('r2/z1/s1'), at('r1/z2/s1')], {}), [['r1/z2/s1'], ['r2/z1/s1']]);
});

test('sortIntoLevels() sorts by how many labels in front are the same', (t) => {
  const endpoints = [
    at('r1/z2', { version: 'v1' }),
    at('r1/z2', { version: 'v2' }),
    at('r2/z1', { version: 'v1' }),
  ];
  const [near, other, far] = endpoints;
  const priority = ['topology.kubernetes.io/region', 'version'];
  const sorted = sortIntoLevels(endpoints, {
    ...{ source, loadBalancing: anywhere },
    locality: { distribute: [], failover: [], failoverPriority: priority },
  }).map((level) => level.flatMap((group) => group.endpoints));
  t.deepEqual(sorted, [[near], [other], [far]]);
});

test('sortIntoLevels() compares with the value that a priority names', (t) => {
  const endpoints = [at('a', { version: 'v1' }), at('b', { version: 'v2' })];
  t.deepEqual(levelsOf(endpoints, { failoverPriority: ['version=v2'] }), [['b'], ['a']]);
});

test('sortIntoLevels() knows every label that tells a place', (t) => {
  const here = makeEndpoint('here', {
    workload: { network: '', clusterId: 'Kubernetes', node: 'node-a', locality: source.locality },
  });
  const elsewhere = {
    network: 'n2',
    clusterId: 'c2',
    node: 'node-b',
    locality: { region: '', zone: '', subzone: '' },
  };
  const there = makeEndpoint('there', { workload: elsewhere });
  for (const label of [
    ...['topology.kubernetes.io/region', 'topology.kubernetes.io/zone'],
    ...['topology.istio.io/subzone', 'topology.istio.io/network', 'topology.istio.io/cluster'],
    'kubernetes.io/hostname',
  ])
    t.deepEqual(
      levelsOf([there, here], { failoverPriority: [label] }),
      [['here'], ['there']],
      label,
    );
});

test('sortIntoLevels() gives localities their shares, and nothing to those that have none', (t) => {
  const distribute = [
    { from: 'r2/*', to: new Map([['r2/*', 100]]) },
    {
      from: 'r1/z1/*',
      to: new Map([
        ['r1/*', 20],
        ['r1/z1/*', 70],
        ['r2/z1/*', 10],
      ]),
    },
  ];
  t.deepEqual(levelsOf(all, { distribute }), [
    ['r1/z1/s1@node-a 70', 'r1/z1/s2 70', 'r2/z1/s1 10', 'r1/z2/s1 20'],
  ]);
});

test('sortIntoLevels() keeps shares that add up to nothing from being anybody’s', (t) => {
  const distribute = [
    {
      from: '*',
      to: new Map([
        ['r7', 100],
        ['r1/*', 0],
      ]),
    },
  ];
  t.deepEqual(levelsOf(all, { distribute }), [[]]);
});

test('sortIntoLevels() takes no notice of shares for others', (t) => {
  t.deepEqual(
    levelsOf(all, { distribute: [{ from: 'r9', to: new Map([['r9', 100]]) }] }).length,
    4,
  );
});

test('sortIntoLevels() follows the trafficDistribution of a Service', (t) => {
  const sameZone: LoadBalancing = {
    ...{
      routingPreference: ['NETWORK', 'REGION', 'ZONE'],
      mode: 'FAILOVER',
      allowUnhealthy: false,
    },
  };
  t.deepEqual(levelsOf(all, undefined, sameZone), [
    ['r1/z1/s1@node-a', 'r1/z1/s2'],
    ['r1/z2/s1'],
    ['r2/z1/s1', 'r3/z9/s9'],
  ]);
  const priority = { failoverPriority: ['kubernetes.io/hostname'] };
  t.is(levelsOf(all, priority, sameZone).length, 2); // the rule's own words go first
});

test('sortIntoLevels() leaves out what a local Service may not use', (t) => {
  const local: LoadBalancing = {
    ...{ routingPreference: ['NODE'], mode: 'STRICT', allowUnhealthy: false },
  };
  t.deepEqual(levelsOf(all, undefined, local), [['r1/z1/s1@node-a']]);
  const everywhere = [{ from: '*', to: new Map([['*', 100]]) }];
  t.deepEqual(levelsOf(all, { distribute: everywhere }, local), [['r1/z1/s1@node-a 100']]);
});

const matches = test.macro({
  exec(t, pattern: string, expected: boolean) {
    t.is(localityMatches(pattern, source.locality), expected);
  },
  title: (given = '') => `localityMatches() ${given}`,
});
test('takes * for anything', matches, '*', true);
test('takes a region for all of it', matches, 'r1', true);
test('compares zones', matches, 'r1/z2', false);
test('compares subzones', matches, 'r1/z1/s1', true);
test('takes r1/* for the region', matches, 'r1/*', true);
test('does not take part of a name', matches, 'r', false);
