import type { Service } from '../../mesh/kubernetes/core.ts';
import type { AuthorizationPolicy } from '../../mesh/kubernetes/security.ts';
import { labelsMatch } from '../../mesh/kubernetes/selector.ts';
import type { RouteParent } from '../translate/routes/parents.ts';
import type { CheckedMesh } from './mesh.ts';

/** The services whose workloads are said to call a service: those that an AuthorizationPolicy for it allows by name. */
export function callersOf(mesh: CheckedMesh, called: RouteParent): Service[] {
  const accounts = new Set<string>();
  for (const policy of mesh.snapshot.list('AuthorizationPolicy', called.ref.namespace))
    if (policy.spec.action === 'ALLOW' && isFor(mesh, policy, called))
      for (const account of accountsOf(policy)) accounts.add(account);
  if (accounts.size === 0) return [];
  return [...mesh.snapshot.all('Service')].filter((service) =>
    mesh.workloads.some(
      (each) => accounts.has(`${each.namespace}/${each.serviceAccount}`) && isOf(service, each),
    ),
  );
}

function isOf({ spec, ref }: Service, workload: CheckedMesh['workloads'][number]): boolean {
  if (spec.selector === undefined || spec.selector.size === 0) return false;
  return workload.namespace === ref.namespace && labelsMatch(spec.selector, workload.labels);
}

function isFor(mesh: CheckedMesh, { spec }: AuthorizationPolicy, called: RouteParent): boolean {
  const targets = spec.targetRef === undefined ? spec.targetRefs : [spec.targetRef];
  if (targets.length > 0)
    return targets.some(({ kind, name }) => kind === called.kind && name === called.ref.name);
  const labels = spec.selector?.matchLabels;
  if (labels === undefined || called.kind !== 'Service') return false;
  return mesh.workloads.some((each) => isOf(called, each) && labelsMatch(labels, each.labels));
}

/** `<namespace>/<name>`, of those that are named whole. */
function accountsOf({ spec, ref }: AuthorizationPolicy): string[] {
  const sources = (spec.rules ?? []).flatMap(({ from }) =>
    (from ?? []).flatMap(({ source }) => (source === undefined ? [] : [source])),
  );
  const principals = sources.flatMap((source) =>
    source.principals.flatMap((principal) => {
      const [, namespace, name] = /^[^/]+\/ns\/([^*/]+)\/sa\/([^*/]+)$/.exec(principal) ?? [];
      return namespace === undefined || name === undefined ? [] : [`${namespace}/${name}`];
    }),
  );
  const accounts = sources.flatMap(({ serviceAccounts }) =>
    serviceAccounts.map((name) => (name.includes('/') ? name : `${ref.namespace}/${name}`)),
  );
  return [...principals, ...accounts];
}
