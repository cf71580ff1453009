import { tryParseIpAddress } from '../../base/address.ts';
import { serviceKey, type PortMapping, type ServiceKey } from '../../mesh/model/service.ts';
import type { Locality, Workload, WorkloadUid } from '../../mesh/model/workload.ts';
import { serviceOfSlice, type EndpointSlice } from '../../mesh/kubernetes/core.ts';
import {
  AMBIENT_REDIRECTION,
  AMBIENT_REDIRECTION_ENABLED,
  TUNNEL,
  TUNNEL_HTTP,
  WORKLOAD_NAME,
} from '../../mesh/kubernetes/labels.ts';
import type {
  ServiceEntry,
  WorkloadEndpoint,
  WorkloadEntry,
} from '../../mesh/kubernetes/networking.ts';
import type { Labels } from '../../mesh/kubernetes/selector.ts';
import type { Picture } from '../snapshot.ts';
import { mtlsPolicies } from './peer-authentication.ts';
import { selectedPolicies } from './policies.ts';
import { entryPortsAtEndpoint } from './ports.ts';
import { serviceHostname } from './names.ts';
import { ownedHosts } from './services.ts';
import {
  clusterNetwork,
  NOTHING,
  type Condition,
  type MeshSettings,
  type Translation,
} from './settings.ts';
import { resolveWaypoint } from './waypoints.ts';
import { canonicalNames, NO_LOCALITY, selectedServices } from './workloads.ts';

/** Turns a WorkloadEntry into a workload: a machine outside the cluster, always taken for healthy. */
export function translateWorkloadEntry(
  picture: Picture,
  settings: MeshSettings,
  entry: WorkloadEntry,
): Translation {
  const { namespace, name } = entry.ref;
  const { spec } = entry;
  // The labels of the spec are the workload's; those of the object come in where the spec has none of that name.
  const labels = new Map([...entry.metadata.labels, ...spec.labels]);
  const named = (port: string): number | undefined => spec.ports.get(port);
  const uid = `${settings.clusterId}/networking.istio.io/WorkloadEntry/${namespace}/${name}`;
  const { workload, condition } = endpointWorkload(picture, settings, spec, {
    ...{ uid, name, namespace, labels, annotations: entry.metadata.annotations },
    subsetLabels: labels,
    waypointLabels: entry.metadata.labels,
    services: selectedServices(picture, settings, namespace, labels, {
      service: named,
      entry: named,
    }),
  });
  return {
    ...NOTHING,
    addresses: [
      {
        kind: 'workload',
        workload: {
          ...workload,
          authorizationPolicies: [
            ...selectedPolicies(picture, settings, namespace, labels),
            ...mtlsPolicies(picture, settings, namespace, labels),
          ],
        },
      },
    ],
    conditions: condition === undefined ? [] : [condition],
  };
}

/** The endpoints that stand in a ServiceEntry, or the one that its host names stand for. */
export function serviceEntryWorkloads(
  picture: Picture,
  settings: MeshSettings,
  entry: ServiceEntry,
): Workload[] {
  const { namespace, name } = entry.ref;
  const { spec, metadata } = entry;
  const hosts = ownedHosts(picture, settings, entry);
  if (spec.resolution === 'NONE' || hosts.length === 0) return [];
  const prefix = `${settings.clusterId}/networking.istio.io/ServiceEntry/${namespace}/${name}`;
  const make = (endpoint: WorkloadEndpoint, at: string, served: readonly string[]): Workload => {
    const ports = entryPortsAtEndpoint(entry, (port) => endpoint.ports.get(port));
    return endpointWorkload(picture, settings, endpoint, {
      ...{ uid: `${prefix}/${at}`, name, namespace },
      ...{ labels: metadata.labels, annotations: metadata.annotations },
      ...{ waypointLabels: endpoint.labels, subsetLabels: endpoint.labels },
      services: new Map(served.map((host) => [serviceKey(namespace, host), ports])),
    }).workload;
  };
  if (spec.endpoints.length > 0)
    return spec.endpoints
      .filter(({ address }) => address !== '')
      .map((endpoint) => make(endpoint, endpoint.address, hosts));
  if (spec.resolution === 'STATIC' || spec.workloadSelector !== undefined) return [];
  return hosts.map((host) => make({ ...NO_ENDPOINT, address: host }, host, [host]));
}

/** Endpoints of a Service that are no pods: addresses that someone wrote into a slice by hand. */
export function translateEndpointSlice(
  picture: Picture,
  settings: MeshSettings,
  slice: EndpointSlice,
): Translation {
  const { namespace, name } = slice.ref;
  const service = picture.get('Service', namespace, serviceOfSlice(slice) ?? '');
  if (slice.addressType === 'FQDN' || service === undefined) return NOTHING;
  if (service.spec.type === 'ExternalName') return NOTHING;
  const hostname = serviceHostname(namespace, service.ref.name, settings);
  const ports = slicePorts(slice, service.spec.ports);
  const services = new Map([[serviceKey(namespace, hostname), ports]]);
  const network = clusterNetwork(picture, settings);
  const seen = new Set<string>();
  const workloads: Workload[] = [];
  for (const endpoint of slice.endpoints) {
    if (endpoint.targetRef?.kind === 'Pod') continue;
    for (const address of endpoint.addresses) {
      const ip = tryParseIpAddress(address);
      if (ip === undefined || seen.has(ip)) continue;
      seen.add(ip);
      const uid = `${settings.clusterId}/discovery.k8s.io/EndpointSlice/${namespace}/${name}/${ip}`;
      workloads.push({
        ...{ uid: uid as WorkloadUid, name, namespace, addresses: [ip], hostname: '', network },
        ...{ clusterId: settings.clusterId, tunnelProtocol: 'NONE', nativeTunnel: false },
        ...{ trustDomain: settings.trustDomain, serviceAccount: '', node: '' },
        ...{ canonicalName: name, canonicalRevision: 'latest', workloadName: name },
        ...{ workloadType: 'POD', healthy: endpoint.conditions.ready ?? true },
        // The address may be shared with others, so traffic to it alone is not taken for traffic to this endpoint.
        ...{ hostNetwork: true, locality: NO_LOCALITY, capacity: 1 },
        ...{ services, authorizationPolicies: [] },
      });
    }
  }
  return {
    ...NOTHING,
    addresses: workloads.map((workload) => ({ kind: 'workload', workload })),
  };
}

const NO_ENDPOINT: WorkloadEndpoint = {
  ...{ address: '', ports: new Map(), labels: new Map(), network: '', locality: '' },
  ...{ weight: undefined, serviceAccount: '' },
};

function endpointWorkload(
  picture: Picture,
  settings: MeshSettings,
  endpoint: WorkloadEndpoint,
  about: Readonly<{
    uid: string;
    name: string;
    namespace: string;
    /** For tunnel and names. */
    labels: Labels;
    annotations: Labels;
    /** What subsets select by. */
    subsetLabels: Labels;
    waypointLabels: Labels;
    services: ReadonlyMap<ServiceKey, readonly PortMapping[]>;
  }>,
): { workload: Workload; condition: Condition | undefined } {
  const { name, namespace, labels, annotations, services } = about;
  const ip = tryParseIpAddress(endpoint.address);
  const nativeTunnel = labels.get(TUNNEL) === TUNNEL_HTTP;
  const captured = annotations.get(AMBIENT_REDIRECTION) === AMBIENT_REDIRECTION_ENABLED;
  const { waypoint, waypointProblem, condition } = resolveWaypoint(picture, settings, {
    ...{ namespace, annotations, labels: about.waypointLabels, traffic: 'workload' },
    serviceAccounts: () => new Set([endpoint.serviceAccount || undefined]),
  });
  const workload: Workload = {
    uid: about.uid as WorkloadUid,
    ...{ name, namespace, services, nativeTunnel },
    addresses: ip === undefined ? [] : [ip],
    hostname: ip === undefined ? endpoint.address : '',
    network: endpoint.network || clusterNetwork(picture, settings),
    clusterId: settings.clusterId,
    tunnelProtocol: captured || nativeTunnel ? 'HBONE' : 'NONE',
    trustDomain: settings.trustDomain,
    serviceAccount: endpoint.serviceAccount,
    node: '',
    ...canonicalNames(labels, name),
    workloadType: 'POD',
    workloadName: labels.get(WORKLOAD_NAME) ?? name,
    healthy: true,
    hostNetwork: false,
    locality: parseLocality(endpoint.locality),
    capacity: endpoint.weight || 1, // 0 is how an unset weight is written
    ...(waypoint === undefined ? {} : { waypoint }),
    ...(waypointProblem === undefined ? {} : { waypointProblem }),
    authorizationPolicies: [],
    labels: about.subsetLabels,
  };
  return { workload, condition };
}

/** A slice's TCP ports, each for the Service's port of the same name. */
function slicePorts(
  slice: EndpointSlice,
  ports: readonly Readonly<{ name: string; port: number; protocol: string }>[],
): PortMapping[] {
  return ports.flatMap(({ name, port, protocol }) => {
    const target = slice.ports.find((each) => each.name === name && each.protocol === 'TCP');
    if (protocol !== 'TCP' || target === undefined || target.port === 0) return [];
    return [{ servicePort: port, targetPort: target.port, appProtocol: 'UNKNOWN' as const }];
  });
}

function parseLocality(text: string): Locality {
  const [region = '', zone = '', subzone = ''] = text.split('/');
  return { region, zone, subzone };
}
