import type { ObjectReference } from '../../mesh/kubernetes/object.ts';
import type { KubernetesObject } from '../../mesh/kubernetes/resources.ts';
import type { AuthorizationPolicy, PeerAuthentication } from '../../mesh/kubernetes/security.ts';
import { labelsMatch, type Labels } from '../../mesh/kubernetes/selector.ts';
import { resolveWaypoint } from '../translate/waypoints.ts';
import { warning, type CheckedMesh, type Finding } from './mesh.ts';

/** Policies that do nothing, or that name who is not there. */
export function checkPolicy(mesh: CheckedMesh, object: KubernetesObject): Finding[] {
  if (object.kind === 'PeerAuthentication') return checkPeerAuthentication(mesh, object);
  if (object.kind !== 'AuthorizationPolicy') return [];
  return [
    ...checkSelector(mesh, object.ref, object.spec.selector?.matchLabels),
    ...checkTargets(mesh, object),
    ...checkCallers(mesh, object),
  ];
}

function checkPeerAuthentication(mesh: CheckedMesh, policy: PeerAuthentication): Finding[] {
  const labels = policy.spec.selector?.matchLabels;
  if (
    labels !== undefined &&
    labels.size > 0 &&
    policy.ref.namespace === mesh.settings.rootNamespace
  )
    return [
      warning(
        'has no effect: a selector in the root namespace is ignored',
        'put the policy into the namespace of its workloads',
      ),
    ];
  return checkSelector(mesh, policy.ref, labels);
}

function checkSelector(
  { workloads, settings }: CheckedMesh,
  ref: ObjectReference,
  labels: Labels | undefined,
): Finding[] {
  if (labels === undefined || labels.size === 0) return [];
  const everywhere = ref.namespace === settings.rootNamespace;
  const found = workloads.some(
    (each) => (everywhere || each.namespace === ref.namespace) && labelsMatch(labels, each.labels),
  );
  if (found) return [];
  const text = [...labels].map(([key, value]) => `${key}=${value}`).join(',');
  const where = everywhere ? 'the mesh' : ref.namespace;
  return [warning(`selects nothing: no workload of ${where} has ${text}`)];
}

function checkTargets(mesh: CheckedMesh, policy: AuthorizationPolicy): Finding[] {
  const { spec, ref } = policy;
  const targets = spec.targetRef === undefined ? spec.targetRefs : [spec.targetRef];
  return targets.flatMap(({ kind, name }): Finding[] => {
    const namespace = kind === 'GatewayClass' ? '' : ref.namespace;
    const found = isTargetKind(kind) ? mesh.snapshot.get(kind, namespace, name) : undefined;
    // The class of waypoints is always there; only the root namespace may target it.
    if (kind === 'GatewayClass') {
      if (ref.namespace === mesh.settings.rootNamespace) return [];
      return [warning('has no effect: only the root namespace may target a GatewayClass')];
    }
    if (found === undefined)
      return [
        { severity: 'error', message: `targets ${kind} ${name}, which does not exist`, mend: '' },
      ];
    if (kind === 'Gateway') return [];
    const { waypoint } = resolveWaypoint(mesh.snapshot, mesh.settings, {
      ...{ namespace, labels: found.metadata.labels, annotations: found.metadata.annotations },
      ...{ traffic: 'service', serviceAccounts: () => new Set([undefined]) },
    });
    if (waypoint !== undefined) return [];
    return [
      {
        severity: 'error',
        message: `has no effect: ${kind} ${name} has no waypoint, which is where the policy would be enforced`,
        mend: 'give it a waypoint with the label istio.io/use-waypoint, or use a selector for what L4 can enforce',
      },
    ];
  });
}

function isTargetKind(
  kind: string,
): kind is 'Service' | 'ServiceEntry' | 'Gateway' | 'GatewayClass' {
  return ['Service', 'ServiceEntry', 'Gateway', 'GatewayClass'].includes(kind);
}

/** Callers that a policy names and that do not exist: a mistyped name allows nobody, or denies nobody. */
function checkCallers(mesh: CheckedMesh, policy: AuthorizationPolicy): Finding[] {
  const findings = new Map<string, Finding>();
  const add = (message: string): void => {
    findings.set(message, warning(message));
  };
  const account = (namespace: string, name: string): void => {
    if (!mesh.namespaces.has(namespace)) add(`names namespace ${namespace}, which does not exist`);
    else if (!hasAccount(mesh, namespace, name))
      add(`names service account ${namespace}/${name}, which does not exist`);
  };
  const conditions = (policy.spec.rules ?? []).flatMap(({ when }) => when);
  const sources = (policy.spec.rules ?? []).flatMap(({ from }) =>
    (from ?? []).flatMap(({ source }) => (source === undefined ? [] : [source])),
  );
  const valuesOf = (key: string): string[] =>
    conditions
      .filter((each) => each.key === key)
      .flatMap((each) => [...each.values, ...each.notValues]);
  const principals = sources.flatMap((each) => [...each.principals, ...each.notPrincipals]);
  for (const value of [...principals, ...valuesOf('source.principal')]) {
    const [, namespace, name] = /^[^*/]+\/ns\/([^*/]+)\/sa\/([^*/]+)$/.exec(value) ?? [];
    if (namespace !== undefined && name !== undefined) account(namespace, name);
  }
  for (const value of sources.flatMap((each) => [
    ...each.serviceAccounts,
    ...each.notServiceAccounts,
  ])) {
    const [namespace, name] = value.includes('/')
      ? value.split('/')
      : [policy.ref.namespace, value];
    if (namespace !== undefined && name !== undefined) account(namespace, name);
  }
  const namespaces = sources.flatMap((each) => [...each.namespaces, ...each.notNamespaces]);
  for (const value of [...namespaces, ...valuesOf('source.namespace')])
    if (!value.includes('*') && !mesh.namespaces.has(value))
      add(`names namespace ${value}, which does not exist`);
  return [...findings.values()];
}

/** Declared, or what something runs under. */
function hasAccount(mesh: CheckedMesh, namespace: string, name: string): boolean {
  if (name === 'default' || mesh.snapshot.get('ServiceAccount', namespace, name) !== undefined)
    return true;
  return mesh.workloads.some(
    (each) => each.namespace === namespace && each.serviceAccount === name,
  );
}
