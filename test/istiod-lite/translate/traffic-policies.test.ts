import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import test from 'ava';
import { stringify } from 'yaml';
import { formatObject } from '../../../mesh/kubernetes/object.ts';
import { DEFAULT_TRUST_DOMAIN } from '../../../mesh/model/identity.ts';
import { trafficPolicyOf } from '../../../mesh/model/traffic-policy.ts';
import { Snapshot } from '../../../istiod-lite/snapshot.ts';
import { FileSet } from '../../../istiod-lite/sources/file-set.ts';
import { serviceHostname } from '../../../istiod-lite/translate/names.ts';
import type { MeshSettings } from '../../../istiod-lite/translate/settings.ts';
import {
  destinationRuleCondition,
  findTrafficPolicy,
  type TrafficTarget,
} from '../../../istiod-lite/translate/traffic-policies.ts';

// Each traffic-policies/NAME.in.yaml is a cluster; NAME.out.yaml is what a waypoint of namespace shop is told of each service.
// UPDATE_GOLDEN=1 writes the outputs anew: read them before you commit them.

const folder = new URL('../testdata/traffic-policies/', import.meta.url);

const settings: MeshSettings = {
  ...{ clusterId: 'Kubernetes', clusterDomain: 'cluster.local', rootNamespace: 'istio-system' },
  ...{ trustDomain: DEFAULT_TRUST_DOMAIN, trustDomainAliases: [], network: '' },
  dryRunPolicies: false,
};

function snapshotOf(text: string): Snapshot {
  const files = new FileSet();
  files.setFile('in.yaml', text);
  const snapshot = new Snapshot();
  snapshot.apply(files.takeChanges());
  return snapshot;
}

/** Every service, as seen by a waypoint of namespace shop. */
function targetsOf(snapshot: Snapshot): TrafficTarget[] {
  const of = (namespace: string, hostname: string): TrafficTarget => ({
    ...{ namespace, hostname, waypointNamespace: 'shop' },
  });
  return [
    ...[...snapshot.all('Service')].map(({ ref: { namespace, name } }) =>
      of(namespace, serviceHostname(namespace, name, settings)),
    ),
    ...[...snapshot.all('ServiceEntry')].flatMap(({ ref, spec }) =>
      spec.hosts.map((host) => of(ref.namespace, host)),
    ),
  ];
}

/** Maps as objects, and Infinity as YAML has it. */
function readable(value: unknown): unknown {
  if (value instanceof Map) return readable(Object.fromEntries(value));
  if (Array.isArray(value)) return value.map(readable);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, readable(each)]));
}

function translate(text: string): string {
  const snapshot = snapshotOf(text);
  const services = targetsOf(snapshot).map(({ hostname, ...target }) => [
    hostname,
    findTrafficPolicy(snapshot, settings, { hostname, ...target }) ?? null,
  ]);
  const statuses = [...snapshot.all('DestinationRule')].map((rule) => {
    const { status, reason, message } = destinationRuleCondition(snapshot, settings, rule);
    return [formatObject(rule.ref), { status, reason, message: message.split('; ') }];
  });
  return stringify(
    readable({ services: new Map(services as []), statuses: new Map(statuses as []) }),
    { lineWidth: 120, aliasDuplicateObjects: false },
  );
}

const names = readdirSync(folder)
  .filter((name) => name.endsWith('.in.yaml'))
  .map((name) => name.slice(0, -'.in.yaml'.length));

for (const name of names)
  test(`translation of traffic policies: ${name}`, (t) => {
    const actual = translate(readFileSync(new URL(`${name}.in.yaml`, folder), 'utf8'));
    const output = new URL(`${name}.out.yaml`, folder);
    if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(output, actual);
    t.is(actual, readFileSync(output, 'utf8'));
  });

test('a port without settings has the policy of the service, an unknown subset none', (t) => {
  const snapshot = snapshotOf(readFileSync(new URL('subsets.in.yaml', folder), 'utf8'));
  const [target] = targetsOf(snapshot);
  const found = target && findTrafficPolicy(snapshot, settings, target);
  t.is(trafficPolicyOf(found, 9999), found?.policy);
  t.is(trafficPolicyOf(found, 80), found?.ports.get(80));
  t.is(trafficPolicyOf(found, 80, 'own'), found?.subsets[1]?.ports.get(80));
  t.is(trafficPolicyOf(found, 9999, 'own'), found?.subsets[1]?.policy);
  t.is(trafficPolicyOf(found, 80, 'unknown'), undefined);
  t.is(trafficPolicyOf(undefined, 80)?.balancer.kind, 'least-request');
  t.is(trafficPolicyOf(undefined, 80, 'v1'), undefined);
});
