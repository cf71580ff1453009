import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import test from 'ava';
import { stringify } from 'yaml';
import { formatObject } from '../../../mesh/kubernetes/object.ts';
import { DEFAULT_TRUST_DOMAIN } from '../../../mesh/model/identity.ts';
import { serviceKey } from '../../../mesh/model/service.ts';
import {
  DEFAULT_TRAFFIC_POLICY,
  trafficPolicyOf,
  type ServiceTrafficPolicy,
} from '../../../mesh/model/traffic-policy.ts';
import { Snapshot } from '../../../istiod-lite/snapshot.ts';
import { FileSet } from '../../../istiod-lite/sources/file-set.ts';
import { backendTlsAncestors, withBackendTls } from '../../../istiod-lite/translate/backend-tls.ts';
import type { RouteParent } from '../../../istiod-lite/translate/routes/parents.ts';
import { serviceHostname } from '../../../istiod-lite/translate/names.ts';
import type { MeshSettings } from '../../../istiod-lite/translate/settings.ts';
import {
  destinationRuleCondition,
  findTrafficPolicy,
  type TrafficTarget,
} from '../../../istiod-lite/translate/traffic-policies.ts';
import { crlPem, makeCrl } from '../../support/crl.ts';
import { makeTestCa } from '../../support/test-ca.ts';

// Each traffic-policies/NAME.in.yaml is a cluster; NAME.out.yaml is what a waypoint of namespace shop is told of each service.
// A Secret's data stand in {{braces}}, so that no key is kept in a file. UPDATE_GOLDEN=1 writes the outputs anew: read them before you commit them.

const ca = makeTestCa();
const { chainPem, privateKeyPem } = ca.issue('spiffe://cluster.local/ns/shop/sa/web');
const CREDENTIALS: readonly (readonly [string, string])[] = [
  ['{{ca}}', ca.rootPem.trim()],
  ['{{certificate}}', chainPem.join('').trim()],
  ['{{key}}', privateKeyPem],
  ['{{lists}}', crlPem(makeCrl(ca, []))],
  ['{{other-key}}', makeTestCa().issue('spiffe://cluster.local/ns/shop/sa/web').privateKeyPem],
];

const folder = new URL('../testdata/traffic-policies/', import.meta.url);

const settings: MeshSettings = {
  ...{ clusterId: 'Kubernetes', clusterDomain: 'cluster.local', rootNamespace: 'istio-system' },
  ...{ trustDomain: DEFAULT_TRUST_DOMAIN, trustDomainAliases: [], network: '' },
  dryRunPolicies: false,
};

function snapshotOf(text: string): Snapshot {
  const files = new FileSet();
  let filled = text;
  for (const [name, pem] of CREDENTIALS) filled = filled.replaceAll(name, JSON.stringify(pem));
  files.setFile('in.yaml', filled);
  const snapshot = new Snapshot();
  snapshot.apply(files.takeChanges());
  return snapshot;
}

/** Every service, as seen by a waypoint of namespace shop. */
function targetsOf(snapshot: Snapshot): (TrafficTarget & Readonly<{ parent: RouteParent }>)[] {
  const of = (
    namespace: string,
    hostname: string,
    parent: RouteParent,
  ): TrafficTarget & Readonly<{ parent: RouteParent }> => ({
    ...{ namespace, hostname, waypointNamespace: 'shop', parent },
  });
  return [
    ...[...snapshot.all('Service')].map((service) => {
      const { namespace, name } = service.ref;
      return of(namespace, serviceHostname(namespace, name, settings), service);
    }),
    ...[...snapshot.all('ServiceEntry')].flatMap((entry) =>
      entry.spec.hosts.map((host) => of(entry.ref.namespace, host, entry)),
    ),
  ];
}

/** Maps as objects, Infinity as YAML has it, and texts of certificates and keys by their names. */
function readable(value: unknown): unknown {
  if (typeof value === 'string') return CREDENTIALS.find(([, pem]) => pem === value)?.[0] ?? value;
  if (value instanceof Map) return readable(Object.fromEntries(value));
  if (Array.isArray(value)) return value.map(readable);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, readable(each)]));
}

function translate(text: string): string {
  const snapshot = snapshotOf(text);
  const services = targetsOf(snapshot).map(({ parent, ...target }) => {
    const { hostname, namespace } = target;
    const written = findTrafficPolicy(snapshot, settings, target);
    const untouched: ServiceTrafficPolicy = {
      service: serviceKey(namespace, hostname),
      ...{ policy: DEFAULT_TRAFFIC_POLICY, ports: new Map(), subsets: [] },
    };
    const whole = withBackendTls(snapshot, parent, written ?? untouched);
    return [hostname, whole === untouched ? null : whole];
  });
  const statuses = [...snapshot.all('DestinationRule')].map((rule) => {
    const { status, reason, message } = destinationRuleCondition(snapshot, settings, rule);
    return [formatObject(rule.ref), { status, reason, message: message.split('; ') }];
  });
  const policies = [...snapshot.all('BackendTLSPolicy')].map((policy) => [
    formatObject(policy.ref),
    backendTlsAncestors(snapshot, settings, policy).map(({ ancestorRef, conditions }) => ({
      ancestor: `${ancestorRef.namespace}/${ancestorRef.name}`,
      conditions: conditions.map(
        ({ type, status, reason, message }) => `${type} ${status} ${reason}: ${message}`,
      ),
    })),
  ]);
  return stringify(
    readable({
      services: new Map(services as []),
      statuses: new Map([...statuses, ...policies] as []),
    }),
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
