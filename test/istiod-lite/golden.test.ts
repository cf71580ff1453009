import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import test from 'ava';
import { stringify } from 'yaml';
import { formatCidr } from '../../base/address.ts';
import { DEFAULT_TRUST_DOMAIN, parseTrustDomain } from '../../mesh/model/identity.ts';
import { formatObject } from '../../mesh/kubernetes/object.ts';
import { formatProblem } from '../../mesh/kubernetes/problem.ts';
import {
  decodeAddress,
  type AddressRecord,
  ADDRESS_TYPE,
  AUTHORIZATION_TYPE,
} from '../../mesh/xds/codec.ts';
import { decodeTargetSecurity } from '../../mesh/xds/codec-http-policy.ts';
import { decodeAuthorization } from '../../mesh/xds/codec-policy.ts';
import { WAYPOINT_CODECS, WAYPOINT_TYPES, waypointKind } from '../../mesh/xds/waypoint-codecs.ts';
import { Snapshot } from '../../istiod-lite/snapshot.ts';
import { FileSet } from '../../istiod-lite/sources/file-set.ts';
import type { MeshSettings } from '../../istiod-lite/translate/settings.ts';
import { Translator } from '../../istiod-lite/translate/translator.ts';
import { VipAllocator } from '../../istiod-lite/translate/vips.ts';

// Each testdata/NAME.in.yaml is a cluster; NAME.out.yaml is what its proxies get, read back from the bytes.
// UPDATE_GOLDEN=1 writes the outputs anew: read them before you commit them.

const folder = new URL('testdata/', import.meta.url);

const settings: MeshSettings = {
  clusterId: 'Kubernetes',
  clusterDomain: 'cluster.local',
  rootNamespace: 'istio-system',
  trustDomain: DEFAULT_TRUST_DOMAIN,
  trustDomainAliases: [parseTrustDomain('old.example')],
  network: '',
  dryRunPolicies: false,
};

/** Leaves out what is empty, absent or the default, so that what is there can be read. */
function readable(value: unknown): unknown {
  if (value instanceof Map) return readable(Object.fromEntries(value));
  if (Array.isArray(value)) return value.map(readable);
  if (typeof value !== 'object' || value === null) return value;
  if ('ip' in value && 'prefix' in value && Object.keys(value).length === 2)
    return formatCidr(value as Parameters<typeof formatCidr>[0]);
  const entries = Object.entries(value)
    .map(([key, each]): [string, unknown] => [key, readable(each)])
    .filter(([key, each]) => !isDefault(key, each));
  return Object.fromEntries(entries);
}

function isDefault(key: string, value: unknown): boolean {
  if (key === 'clauses') return false; // a rule without clauses matches everything: it must be seen
  if (key === 'capacity') return value === 1;
  if (key === 'healthy') return value === true;
  if (key === 'clusterId') return value === 'Kubernetes';
  if (key === 'trustDomain') return value === 'cluster.local';
  const isEmptyList = Array.isArray(value) && value.length === 0 && key !== 'rules';
  const isEmptyObject =
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.keys(value).length === 0;
  return value === '' || value === false || value === undefined || isEmptyList || isEmptyObject;
}

function translate(text: string): string {
  const set = new FileSet();
  set.setFile('in.yaml', text);
  const snapshot = new Snapshot();
  const troubles: string[] = [];
  const translator = new Translator(settings, new VipAllocator(), {
    onTrouble: (message) => troubles.push(message),
  });
  const change = snapshot.apply(set.takeChanges());
  if (change !== undefined) translator.apply(snapshot, change);
  const records = [...(translator.resources(ADDRESS_TYPE)?.values() ?? [])]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ bytes }) => decodeAddress(bytes));
  const policies = [...(translator.resources(AUTHORIZATION_TYPE)?.values() ?? [])]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ bytes }) => decodeAuthorization(bytes));
  const waypoints = WAYPOINT_TYPES.flatMap((typeUrl) => {
    const kind = waypointKind(typeUrl);
    return [...(translator.resources(typeUrl)?.values() ?? [])]
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map(({ bytes, readers }) => ({
        ...{ kind: kind ?? 'security', readers: [...(readers ?? [])] },
        ...(kind === undefined ? decodeTargetSecurity(bytes) : WAYPOINT_CODECS[kind].decode(bytes)),
      }));
  });
  const of = (kind: AddressRecord['kind']): unknown[] =>
    records.flatMap((record): unknown[] =>
      record.kind !== kind ? [] : record.kind === 'workload' ? [record.workload] : [record.service],
    );
  const statuses = [...translator.statuses()]
    .sort((a, b) => (formatObject(a.ref) < formatObject(b.ref) ? -1 : 1))
    .map(({ ref, conditions, parents, vips }) => ({
      ...{ object: formatObject(ref), conditions, parents, vips },
    }));
  return stringify(
    readable({
      problems: [...set.problems().map(formatProblem), ...troubles],
      services: of('service'),
      workloads: of('workload'),
      policies,
      waypoints,
      statuses,
    }),
    { lineWidth: 120 },
  );
}

const names = readdirSync(folder)
  .filter((name) => name.endsWith('.in.yaml'))
  .map((name) => name.slice(0, -'.in.yaml'.length));

for (const name of names)
  test(`translation of ${name}`, (t) => {
    const actual = translate(readFileSync(new URL(`${name}.in.yaml`, folder), 'utf8'));
    const output = new URL(`${name}.out.yaml`, folder);
    if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(output, actual);
    t.is(actual, readFileSync(output, 'utf8'));
  });
