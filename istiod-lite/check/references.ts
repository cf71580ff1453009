import { serviceOfSlice, type Service } from '../../mesh/kubernetes/core.ts';
import { formatObject } from '../../mesh/kubernetes/object.ts';
import type { KubernetesObject } from '../../mesh/kubernetes/resources.ts';
import { labelsMatch } from '../../mesh/kubernetes/selector.ts';
import {
  INGRESS_USE_WAYPOINT,
  TOPOLOGY_NETWORK,
  USE_WAYPOINT,
} from '../../mesh/kubernetes/labels.ts';
import { clusterNetwork } from '../translate/settings.ts';
import { findEdgeParent } from '../translate/gateway/listener-owners.ts';
import { resolveWaypoint, usesForIngress } from '../translate/waypoints.ts';
import type { Route } from '../../mesh/kubernetes/route-backends.ts';
import { parentKind } from '../../mesh/kubernetes/route-references.ts';
import { warning, type CheckedMesh, type Finding } from './mesh.ts';
import type { CheckedWorkload } from './workloads.ts';

/** What an object refers to and is not there. */
export function checkReferences(mesh: CheckedMesh, object: KubernetesObject): Finding[] {
  const findings = [...checkNamespace(mesh, object), ...checkWorkload(mesh, object)];
  switch (object.kind) {
    case 'WorkloadEntry':
      return [...findings, ...checkNetworks(mesh, [object.spec.network])];
    case 'ServiceEntry': {
      const networks = object.spec.endpoints.map(({ network }) => network);
      return [...findings, ...checkNetworks(mesh, networks)];
    }
    case 'Service':
      return [...findings, ...checkService(mesh, object)];
    case 'EndpointSlice': {
      const service = serviceOfSlice(object);
      if (service !== undefined && mesh.snapshot.get('Service', object.ref.namespace, service))
        return findings;
      const found = service === undefined ? 'it names none' : `there is no Service ${service}`;
      return [...findings, warning(`belongs to no Service: ${found}`)];
    }
    case 'Pod': {
      const { nodeName } = object.spec;
      const [anyNode] = mesh.snapshot.all('Node');
      if (nodeName !== '' && anyNode !== undefined && !mesh.snapshot.get('Node', '', nodeName))
        findings.push(warning(`runs on node ${nodeName}, which does not exist`));
      return findings;
    }
    case 'HTTPRoute':
    case 'GRPCRoute':
    case 'TCPRoute':
    case 'TLSRoute':
    case 'UDPRoute':
      return [...findings, ...checkRoute(mesh, object)];
    default:
      return findings;
  }
}

/** Its status tells of parents inside the mesh, and of gateways. */
function checkRoute({ snapshot }: CheckedMesh, { spec, ref: { namespace } }: Route): Finding[] {
  if (spec.parentRefs.length === 0) return [warning('has no effect: it names no parent')];
  return spec.parentRefs
    .filter((ref) => parentKind(ref) === undefined)
    .filter((ref) => {
      return findEdgeParent(snapshot, ref, namespace) === undefined;
    })
    .map(({ kind, name }) =>
      warning(
        `has no effect for ${kind} ${name}: routes are for Services, ServiceEntries and Gateways of class istio`,
      ),
    );
}

/** Only where namespaces are declared at all: a single file need not bring its own. */
function checkNamespace({ snapshot }: CheckedMesh, object: KubernetesObject): Finding[] {
  const { namespace } = object.ref;
  const [declared] = snapshot.all('Namespace');
  if (namespace === '' || namespace === 'default' || declared === undefined) return [];
  if (snapshot.get('Namespace', '', namespace) !== undefined) return [];
  return [warning(`is in namespace ${namespace}, which does not exist`)];
}

function checkWorkload(mesh: CheckedMesh, object: KubernetesObject): Finding[] {
  const workload = mesh.workloads.find(({ ref }) => ref === object.ref);
  if (workload === undefined) return [];
  const { namespace, serviceAccount } = workload;
  const findings: Finding[] = [];
  const exists =
    serviceAccount === '' ||
    serviceAccount === 'default' ||
    mesh.snapshot.get('ServiceAccount', namespace, serviceAccount) !== undefined;
  if (!exists)
    findings.push(
      warning(
        `runs under service account ${serviceAccount}, which does not exist in ${namespace}`,
        'add the ServiceAccount',
      ),
    );
  // The conditions of pods and WorkloadEntries tell of theirs; a template's pods do not exist yet.
  if (object.kind === 'WorkloadEntry') return findings;
  const { condition } = waypointOf(mesh, workload);
  if (condition?.status === 'False' && condition.reason !== 'UnsupportedTrafficType')
    findings.push({ severity: 'error', message: `its pods: ${condition.message}`, mend: '' });
  return findings;
}

function waypointOf(
  { snapshot, settings }: CheckedMesh,
  workload: CheckedWorkload,
): ReturnType<typeof resolveWaypoint> {
  const { namespace, labels, annotations, serviceAccount } = workload;
  return resolveWaypoint(snapshot, settings, {
    ...{ namespace, labels, annotations, traffic: 'workload' },
    serviceAccounts: () => new Set([serviceAccount || undefined]),
  });
}

/** Other networks are reached through gateways, of which nothing tells the proxies here. */
function checkNetworks(
  { snapshot, settings }: CheckedMesh,
  networks: readonly string[],
): Finding[] {
  const own = clusterNetwork(snapshot, settings);
  return [...new Set(networks)]
    .filter((network) => network !== '' && network !== own)
    .map((network) =>
      warning(
        `is not reached: it is in network ${network}, and no gateway to that is known`,
        own === ''
          ? `leave the network out, or say that it is this one: label ${TOPOLOGY_NETWORK} of namespace ${settings.rootNamespace}`
          : `leave the network out where it is this one, ${own}`,
      ),
    );
}

/** It has no waypoint, and wants it to be between gateways and its pods. */
function checkIngress({ snapshot }: CheckedMesh, { ref, metadata }: Service): Finding[] {
  const { namespace } = ref;
  // Of a namespace the label is a default for those that have a waypoint.
  if (!metadata.labels.has(INGRESS_USE_WAYPOINT)) return [];
  return usesForIngress(snapshot, { namespace, labels: metadata.labels })
    ? [
        warning(
          `label ${INGRESS_USE_WAYPOINT} has no effect: it uses no waypoint`,
          `add label ${USE_WAYPOINT}`,
        ),
      ]
    : [];
}

function checkService(mesh: CheckedMesh, service: Service): Finding[] {
  const { selector, type } = service.spec;
  const { namespace, name } = service.ref;
  if (type === 'ExternalName' || selector === undefined || selector.size === 0) return [];
  const endpoints = mesh.workloads.filter(
    (each) => each.namespace === namespace && labelsMatch(selector, each.labels),
  );
  const text = [...selector].map(([key, value]) => `${key}=${value}`).join(',');
  if (endpoints.length === 0)
    return [warning(`selects nothing: no pod of ${namespace} has ${text}`)];
  const { waypoint } = resolveWaypoint(mesh.snapshot, mesh.settings, {
    ...{ namespace, labels: service.metadata.labels, traffic: 'service' },
    annotations: service.metadata.annotations,
    serviceAccounts: () =>
      new Set(endpoints.map(({ serviceAccount }) => serviceAccount || undefined)),
  });
  if (waypoint === undefined) return checkIngress(mesh, service);
  const bypassed = endpoints.find((each) => waypointOf(mesh, each).waypoint === undefined);
  if (bypassed === undefined) return [];
  return [
    warning(
      `has a waypoint, but calls to the addresses of its pods (${formatObject(bypassed.ref)}) go past it`,
      `make the waypoint one for all traffic, or deny what does not come from it; ${name} itself is covered`,
    ),
  ];
}
