import { DEFAULT_TRUST_DOMAIN } from '../mesh/model/identity.ts';
import type { Gateway } from '../mesh/kubernetes/gateway.ts';
import { formatObject, type ObjectBase, type ObjectReference } from '../mesh/kubernetes/object.ts';
import type { ConfigProblem } from '../mesh/kubernetes/problem.ts';
import type { KubernetesObject } from '../mesh/kubernetes/resources.ts';
import { checkPolicy } from './check/policies.ts';
import type { CheckedMesh, Finding } from './check/mesh.ts';
import { checkReferences } from './check/references.ts';
import { workloadsOf } from './check/workloads.ts';
import { Snapshot } from './snapshot.ts';
import { FileSet } from './sources/file-set.ts';
import type { MeshSettings } from './translate/settings.ts';
import { serviceHostname } from './translate/names.ts';
import { allConditions, Translator } from './translate/translator.ts';
import { VipAllocator } from './translate/vips.ts';

export type CheckOptions = Readonly<{
  /** Files that are there already: what is checked may refer to them, and they are not reported on. */
  context?: ReadonlyMap<string, string>;
  settings?: Partial<MeshSettings>;
}>;

export const DEFAULT_SETTINGS: MeshSettings = {
  clusterId: 'Kubernetes',
  clusterDomain: 'cluster.local',
  rootNamespace: 'istio-system',
  trustDomain: DEFAULT_TRUST_DOMAIN,
  trustDomainAliases: [],
  network: '',
  dryRunPolicies: false,
};

/**
 * Says everything that is wrong or without effect in a set of files, by path: what the folder source would report, and
 * what only shows when the objects are seen together. Ordered by file and line.
 */
export function checkFiles(
  files: ReadonlyMap<string, string>,
  options: CheckOptions = {},
): ConfigProblem[] {
  const settings = { ...DEFAULT_SETTINGS, ...options.settings };
  const set = new FileSet(
    (a, b) => Number(files.has(b)) - Number(files.has(a)) || (a < b ? -1 : 1),
  );
  for (const [file, text] of options.context ?? []) if (!files.has(file)) set.setFile(file, text);
  for (const [file, text] of files) set.setFile(file, text);
  const problems = set.problems().filter(({ file }) => files.has(file));
  const { upserts } = set.takeChanges();
  const snapshot = new Snapshot();
  const objects = upserts.map((object) => asReady(object, settings));
  const change = snapshot.apply({ upserts: objects, removals: [] });
  if (change === undefined) return problems;
  const translator = new Translator(settings, new VipAllocator());
  translator.apply(snapshot, change);
  const workloads = workloadsOf(snapshot);
  const namespaces = new Set(objects.map(({ ref }) => namespaceOf(ref)));
  const mesh: CheckedMesh = { snapshot, settings, workloads, namespaces };
  for (const object of objects) {
    const origin = set.originOf(object.key);
    if (origin === undefined || !files.has(origin.file)) continue;
    const findings = [
      ...conditionFindings(object, translator),
      ...checkReferences(mesh, object),
      ...checkPolicy(mesh, object),
    ];
    for (const finding of findings)
      problems.push({ ...origin, ...finding, object: formatObject(object.ref), field: '' });
  }
  return problems.sort(
    (a, b) =>
      (a.file < b.file ? -1 : a.file > b.file ? 1 : 0) || a.line - b.line || a.column - b.column,
  );
}

/** A waypoint gets its address once it runs, which no file says: here it is taken to run. */
function asReady(object: KubernetesObject, settings: MeshSettings): KubernetesObject {
  if (object.kind !== 'Gateway' || object.status.addresses.length > 0) return object;
  const { namespace, name } = object.ref;
  const address = { type: 'Hostname', value: serviceHostname(namespace, name, settings) };
  const ready: Gateway = { ...object, status: { ...object.status, addresses: [address] } };
  return ready;
}

function namespaceOf(ref: ObjectReference): string {
  return ref.group === '' && ref.kind === 'Namespace' ? ref.name : ref.namespace;
}

/** What the status of the object would say. */
function conditionFindings(object: ObjectBase, translator: Translator): Finding[] {
  const known = translator.statusOf(object.key);
  if (known === undefined) return [];
  // What holds for every parent of a route is said once.
  const conditions = new Map(allConditions(known).map((each) => [each.message, each]));
  return [...conditions.values()].flatMap(({ type, status, reason, message }): Finding[] => {
    if (status === 'True' && reason !== 'UnsupportedValue') return [];
    // Each target is checked by itself, with a word on how to mend it.
    if (type === 'WaypointAccepted') return [];
    const partial =
      status === 'True' || reason === 'UnsupportedTrafficType' || type === 'ResolvedWaypoints';
    return [{ severity: partial ? 'warning' : 'error', message: `${type}: ${message}`, mend: '' }];
  });
}
