import { tryParseIpAddress, type IpAddress } from '../../base/address.ts';
import { serviceKey, type PortMapping, type ServiceKey } from '../../mesh/model/service.ts';
import type { Locality, Workload, WorkloadUid } from '../../mesh/model/workload.ts';
import { serviceOfSlice, type Pod, type Service } from '../../mesh/kubernetes/core.ts';
import {
  AMBIENT_REDIRECTION,
  AMBIENT_REDIRECTION_ENABLED,
  APP,
  APP_NAME,
  APP_VERSION,
  CANONICAL_NAME,
  CANONICAL_REVISION,
  POD_TEMPLATE_HASH,
  TOPOLOGY_REGION,
  TOPOLOGY_SUBZONE,
  TOPOLOGY_ZONE,
  TUNNEL,
  TUNNEL_HTTP,
  VERSION,
  WORKLOAD_NAME,
} from '../../mesh/kubernetes/labels.ts';
import { labelsMatch, type Labels } from '../../mesh/kubernetes/selector.ts';
import type { Picture } from '../snapshot.ts';
import { mtlsPolicies } from './peer-authentication.ts';
import { selectedPolicies } from './policies.ts';
import { containerPort, entryPortsAtEndpoint, portsAtEndpoint } from './ports.ts';
import { serviceHostname } from './names.ts';
import { isReady } from './readiness.ts';
import { isFinished, ownedHosts } from './services.ts';
import { clusterNetwork, NOTHING, type MeshSettings, type Translation } from './settings.ts';
import { applicationTunnelOf } from './waypoint-gateways.ts';
import { resolveWaypoint } from './waypoints.ts';

export const NO_LOCALITY: Locality = { region: '', zone: '', subzone: '' };

/** Turns a pod into a workload; one that is finished or has no address yet is none. */
export function translatePod(picture: Picture, settings: MeshSettings, pod: Pod): Translation {
  const { namespace, name } = pod.ref;
  const { labels, annotations } = pod.metadata;
  const addresses = podAddresses(pod);
  if (isFinished(pod) || addresses === undefined) return NOTHING;
  const serviceAccount = pod.spec.serviceAccountName || 'default';
  const nativeTunnel = labels.get(TUNNEL) === TUNNEL_HTTP;
  const captured = annotations.get(AMBIENT_REDIRECTION) === AMBIENT_REDIRECTION_ENABLED;
  const workloadName = ownerName(pod);
  const { waypoint, waypointProblem } = resolveWaypoint(picture, settings, {
    ...{ namespace, labels, annotations, traffic: 'workload' },
    serviceAccounts: () => new Set([serviceAccount]),
  });
  const applicationTunnel = applicationTunnelOf(picture, namespace, labels);
  const workload: Workload = {
    uid: `${settings.clusterId}//Pod/${namespace}/${name}` as WorkloadUid,
    ...{ name, namespace, addresses, serviceAccount, workloadName, nativeTunnel },
    hostname: '',
    network: clusterNetwork(picture, settings),
    clusterId: settings.clusterId,
    tunnelProtocol: captured || nativeTunnel ? 'HBONE' : 'NONE',
    trustDomain: settings.trustDomain,
    node: pod.spec.nodeName,
    ...canonicalNames(labels, workloadName),
    workloadType: 'POD',
    healthy: isReady(pod),
    hostNetwork: pod.spec.hostNetwork,
    locality: nodeLocality(picture, pod.spec.nodeName),
    capacity: 1,
    ...(waypoint === undefined ? {} : { waypoint }),
    ...(waypointProblem === undefined ? {} : { waypointProblem }),
    ...(applicationTunnel === undefined ? {} : { applicationTunnel }),
    services: podServices(picture, settings, pod),
    authorizationPolicies: [
      ...selectedPolicies(picture, settings, namespace, labels),
      ...mtlsPolicies(picture, settings, namespace, labels),
    ],
    labels,
  };
  return { ...NOTHING, addresses: [{ kind: 'workload', workload }] };
}

/** Canonical name and revision, from the labels that name them. */
export function canonicalNames(
  labels: Labels,
  fallback: string,
): Pick<Workload, 'canonicalName' | 'canonicalRevision'> {
  const first = (keys: readonly string[], otherwise: string): string =>
    keys.map((key) => labels.get(key)).find((value) => value !== undefined && value !== '') ??
    otherwise;
  return {
    canonicalName: first([CANONICAL_NAME, APP_NAME, APP], fallback),
    canonicalRevision: first([CANONICAL_REVISION, APP_VERSION, VERSION], 'latest'),
  };
}

/** The services whose selector finds an endpoint of these labels, with its ports. */
export function selectedServices(
  picture: Picture,
  settings: MeshSettings,
  namespace: string,
  labels: Labels,
  named: Readonly<{
    service: (name: string) => number | undefined;
    entry: (name: string) => number | undefined;
  }>,
): Map<ServiceKey, readonly PortMapping[]> {
  const found = new Map<ServiceKey, readonly PortMapping[]>();
  for (const entry of picture.list('ServiceEntry', namespace)) {
    const selector = entry.spec.workloadSelector?.labels;
    if (selector === undefined || selector.size === 0 || !labelsMatch(selector, labels)) continue;
    for (const host of ownedHosts(picture, settings, entry))
      found.set(serviceKey(namespace, host), entryPortsAtEndpoint(entry, named.entry));
  }
  for (const service of picture.list('Service', namespace)) {
    const { selector, type } = service.spec;
    if (type === 'ExternalName' || selector === undefined || selector.size === 0) continue;
    if (labelsMatch(selector, labels))
      found.set(keyOf(service, settings), portsAtEndpoint(service, named.service));
  }
  return found;
}

function keyOf(service: Service, settings: MeshSettings): ServiceKey {
  const { namespace, name } = service.ref;
  return serviceKey(namespace, serviceHostname(namespace, name, settings));
}

function podServices(
  picture: Picture,
  settings: MeshSettings,
  pod: Pod,
): Map<ServiceKey, readonly PortMapping[]> {
  const { namespace } = pod.ref;
  const named = (name: string): number | undefined => containerPort(pod, name);
  const found = selectedServices(picture, settings, namespace, pod.metadata.labels, {
    service: named,
    entry: named,
  });
  for (const slice of picture.slicesOfPod(namespace, pod.ref.name)) {
    if (slice.ref.namespace !== namespace || !refersTo(slice.endpoints, pod)) continue;
    const service = picture.get('Service', namespace, serviceOfSlice(slice) ?? '');
    // A Service with a selector finds its pods itself; its slices only repeat that.
    if (service === undefined || service.spec.type === 'ExternalName') continue;
    if ((service.spec.selector?.size ?? 0) > 0) continue;
    found.set(keyOf(service, settings), portsAtEndpoint(service, named));
  }
  return found;
}

/** Whether one of a slice's endpoints is this pod, and not an earlier one of its name. */
function refersTo(
  endpoints: readonly Readonly<{
    targetRef: Readonly<{ kind: string; namespace: string; name: string; uid: string }> | undefined;
  }>[],
  pod: Pod,
): boolean {
  return endpoints.some(({ targetRef }) => {
    if (targetRef?.kind !== 'Pod' || targetRef.name !== pod.ref.name) return false;
    const { uid } = targetRef;
    return uid === '' || pod.metadata.uid === '' || uid === pod.metadata.uid;
  });
}

/** `undefined` for a pod without an address, or with one that cannot be read. */
function podAddresses(pod: Pod): IpAddress[] | undefined {
  const { podIP, podIPs } = pod.status;
  const texts = podIPs.length > 0 ? podIPs.map(({ ip }) => ip) : podIP === '' ? [] : [podIP];
  const addresses = texts.map(tryParseIpAddress).filter((ip) => ip !== undefined);
  return addresses.length === 0 || addresses.length < texts.length ? undefined : addresses;
}

/** The name of what made the pod: Deployment, CronJob, or its controller as it is. */
function ownerName(pod: Pod): string {
  const { labels, ownerReferences } = pod.metadata;
  const given = labels.get(WORKLOAD_NAME);
  if (given !== undefined && given !== '') return given;
  const owner = ownerReferences.find(({ controller }) => controller);
  if (owner === undefined) return pod.ref.name;
  const hash = labels.get(POD_TEMPLATE_HASH);
  if (owner.kind === 'ReplicaSet' && hash !== undefined && owner.name.endsWith(`-${hash}`))
    return owner.name.slice(0, -hash.length - 1);
  if (owner.kind === 'Job') return owner.name.replace(/-\d{8,10}$/, '');
  return owner.name;
}

function nodeLocality(picture: Picture, name: string): Locality {
  const labels = name === '' ? undefined : picture.get('Node', '', name)?.metadata.labels;
  if (labels === undefined) return NO_LOCALITY;
  return {
    region: labels.get(TOPOLOGY_REGION) ?? '',
    zone: labels.get(TOPOLOGY_ZONE) ?? '',
    subzone: labels.get(TOPOLOGY_SUBZONE) ?? '',
  };
}
