import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import test from 'ava';
import { stringify } from 'yaml';
import { formatCidr } from '../../../base/address.ts';
import { DEFAULT_SETTINGS } from '../../../istiod-lite/check.ts';
import { Snapshot } from '../../../istiod-lite/snapshot.ts';
import { FileSet } from '../../../istiod-lite/sources/file-set.ts';
import {
  securityOfGateway,
  securityOfService,
} from '../../../istiod-lite/translate/http-policies.ts';
import { waypointAccepted } from '../../../istiod-lite/translate/policy-status.ts';
import { serviceHostname } from '../../../istiod-lite/translate/names.ts';
import { formatProblem } from '../../../mesh/kubernetes/problem.ts';
import type { TargetSecurity } from '../../../mesh/model/target-security.ts';
import { decodeTargetSecurity, encodeTargetSecurity } from '../../../mesh/xds/codec-http-policy.ts';

// Each testdata/NAME.in.yaml is a cluster; NAME.out.yaml is what waypoints get for each target, read back from the bytes.
// UPDATE_GOLDEN=1 writes the outputs anew: read them before you commit them.

const folder = new URL('testdata/', import.meta.url);

const settings = DEFAULT_SETTINGS;

/** Leaves out what is empty or false, so that what is there can be read. */
function readable(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(readable);
  if (typeof value !== 'object' || value === null) return value;
  if ('ip' in value && 'prefix' in value)
    return formatCidr(value as Parameters<typeof formatCidr>[0]);
  const entries = Object.entries(value)
    .map(([key, each]): [string, unknown] => [key, readable(each)])
    .filter(([key, each]) => key === 'rules' || key === 'clauses' || !isNothing(each));
  return Object.fromEntries(entries);
}

function isNothing(value: unknown): boolean {
  return (
    value === '' ||
    value === false ||
    value === undefined ||
    (Array.isArray(value) && value.length === 0)
  );
}

function translate(text: string): string {
  const set = new FileSet();
  set.setFile('in.yaml', text);
  const snapshot = new Snapshot();
  snapshot.apply({
    ...set.takeChanges(),
    keys: [{ source: { kind: 'uri', uri: 'https://fetched/keys' }, keys: '{"keys":[{}]}' }],
  });
  const securities: TargetSecurity[] = [];
  const add = (namespace: string, host: string): void => {
    securities.push(securityOfService(snapshot, settings, namespace, host));
  };
  for (const { ref } of snapshot.all('Service'))
    add(ref.namespace, serviceHostname(ref.namespace, ref.name, settings));
  for (const { ref, spec } of snapshot.all('ServiceEntry'))
    for (const host of spec.hosts) add(ref.namespace, host);
  for (const gateway of snapshot.all('Gateway'))
    securities.push(securityOfGateway(snapshot, settings, gateway));
  const statuses = [...snapshot.all('AuthorizationPolicy')].flatMap((policy) => {
    const condition = waypointAccepted(snapshot, settings, policy);
    return condition === undefined
      ? []
      : [{ policy: `${policy.ref.namespace}/${policy.ref.name}`, ...condition }];
  });
  return stringify(
    readable({
      problems: set.problems().map(formatProblem),
      targets: securities.map((each) => decodeTargetSecurity(encodeTargetSecurity(each))),
      statuses,
    }),
    { lineWidth: 120 },
  );
}

const names = readdirSync(folder)
  .filter((name) => name.endsWith('.in.yaml'))
  .map((name) => name.slice(0, -'.in.yaml'.length));

for (const name of names)
  test(`translation of ${name} for waypoints`, (t) => {
    const actual = translate(readFileSync(new URL(`${name}.in.yaml`, folder), 'utf8'));
    const output = new URL(`${name}.out.yaml`, folder);
    if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(output, actual);
    t.is(actual, readFileSync(output, 'utf8'));
  });
