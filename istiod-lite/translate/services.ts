import { parseCidr, tryParseIpAddress } from '../../base/address.ts';
import type {
  IpFamilies,
  LoadBalancing,
  NetworkAddress,
  Service as MeshService,
} from '../../mesh/model/service.ts';
import type { Pod, Service } from '../../mesh/kubernetes/core.ts';
import { ENABLE_AUTOALLOCATE_IP, TRAFFIC_DISTRIBUTION } from '../../mesh/kubernetes/labels.ts';
import type { ServiceEntry } from '../../mesh/kubernetes/networking.ts';
import { compareByAge } from '../../mesh/kubernetes/object.ts';
import { labelsMatch, type Labels } from '../../mesh/kubernetes/selector.ts';
import type { Picture } from '../snapshot.ts';
import { servicePorts, serviceEntryPorts } from './ports.ts';
import { clusterNetwork, NOTHING } from './settings.ts';
import type { AllocateVip, Condition, MeshSettings, Translation } from './settings.ts';
import { resolveWaypoint, type WaypointBinding } from './waypoints.ts';

type Balancing = Pick<LoadBalancing, 'routingPreference' | 'mode'>;

const NO_PREFERENCE: Balancing = { routingPreference: [], mode: 'UNSPECIFIED' };
const LOCAL_ONLY: Balancing = { routingPreference: ['NODE'], mode: 'STRICT' };
const SAME_ZONE: Balancing = {
  routingPreference: ['NETWORK', 'REGION', 'ZONE'],
  mode: 'FAILOVER',
};
const SAME_NODE: Balancing = {
  routingPreference: ['NETWORK', 'REGION', 'ZONE', 'SUBZONE', 'NODE'],
  mode: 'FAILOVER',
};
/** Values of `trafficDistribution` and its annotation, in lower case. */
const DISTRIBUTIONS: ReadonlyMap<string, Balancing> = new Map([
  ['preferclose', SAME_ZONE],
  ['prefersamezone', SAME_ZONE],
  ['prefersamenode', SAME_NODE],
]);

/** `<name>.<namespace>.svc.<cluster domain>`. */
export function serviceHostname(namespace: string, name: string, settings: MeshSettings): string {
  return `${name}.${namespace}.svc.${settings.clusterDomain}`;
}

/** The waypoint of a Service or ServiceEntry. */
export function waypointOfService(
  picture: Picture,
  settings: MeshSettings,
  object: Service | ServiceEntry,
): WaypointBinding {
  const { namespace } = object.ref;
  const { labels, annotations } = object.metadata;
  const selector =
    object.kind === 'Service' ? object.spec.selector : object.spec.workloadSelector?.labels;
  return resolveWaypoint(picture, settings, {
    ...{ namespace, labels, annotations },
    traffic: 'service',
    serviceAccounts: () => accountsOfSelector(picture, namespace, selector),
  });
}

/** Turns a Service into its record; ExternalName is refused with a condition. */
export function translateService(
  picture: Picture,
  settings: MeshSettings,
  service: Service,
): Translation {
  const { spec, metadata } = service;
  const { namespace, name } = service.ref;
  if (spec.type === 'ExternalName')
    return { ...NOTHING, conditions: [refusedExternalName(service)] };
  const network = clusterNetwork(picture, settings);
  const binding = waypointOfService(picture, settings, service);
  const record: MeshService = {
    ...{ name, namespace, hostname: serviceHostname(namespace, name, settings) },
    addresses: clusterIps(service, network),
    ports: servicePorts(service),
    subjectAltNames: [],
    ...published(binding),
    loadBalancing: {
      ...(spec.internalTrafficPolicy === 'Local'
        ? LOCAL_ONLY
        : distribution(picture, namespace, [
            spec.trafficDistribution,
            metadata.annotations.get(TRAFFIC_DISTRIBUTION),
          ])),
      allowUnhealthy: spec.publishNotReadyAddresses,
    },
    ipFamilies: familiesOf(spec.ipFamilies),
    canonical: true,
    namespaceOnly: false,
  };
  return {
    ...NOTHING,
    addresses: [{ kind: 'service', service: record }],
    conditions: binding.condition === undefined ? [] : [binding.condition],
  };
}

/** Turns a ServiceEntry into a record for each of its hosts that no other object of its namespace has. */
export function translateServiceEntry(
  picture: Picture,
  settings: MeshSettings,
  entry: ServiceEntry,
  allocateVip: AllocateVip,
): Translation {
  const { spec, metadata } = entry;
  const { namespace, name } = entry.ref;
  const network = clusterNetwork(picture, settings);
  const binding = waypointOfService(picture, settings, entry);
  const passthrough = spec.resolution === 'NONE';
  const balancing = passthrough
    ? ({ routingPreference: [], mode: 'PASSTHROUGH' } as const)
    : distribution(picture, namespace, [metadata.annotations.get(TRAFFIC_DISTRIBUTION)]);
  const vips = new Map<string, string>();
  const records = ownedHosts(picture, settings, entry).map((host): MeshService => {
    const given = spec.addresses.map((address) => vipOf(address, network));
    if (given.length === 0 && wantsVip(entry, host))
      vips.set(host, allocateVip(entry.ref, host, statusAddresses(entry, host)));
    const allocated = vips.get(host);
    return {
      ...{ name, namespace, hostname: host },
      addresses: allocated === undefined ? given : [vipOf(allocated, network)],
      ports: serviceEntryPorts(entry),
      subjectAltNames: spec.subjectAltNames,
      ...published(binding),
      loadBalancing: { ...balancing, allowUnhealthy: passthrough },
      ipFamilies: 'AUTOMATIC',
      canonical: isCanonical(picture, settings, entry, host),
      namespaceOnly: false,
    };
  });
  const conditions = binding.condition === undefined ? [] : [binding.condition];
  if (binding.condition === undefined && spec.hosts.some((host) => host.startsWith('*')))
    conditions.push(missingForWildcard());
  return {
    ...NOTHING,
    addresses: records.map((service) => ({ kind: 'service', service })),
    conditions,
    vips,
  };
}

/** The hosts of an entry that are its own: a Service goes first, then the oldest ServiceEntry of the namespace. */
export function ownedHosts(
  picture: Picture,
  settings: MeshSettings,
  entry: ServiceEntry,
): string[] {
  const { namespace } = entry.ref;
  return [...new Set(entry.spec.hosts)].filter((host) => {
    const service = serviceOfHost(picture, settings, host);
    if (service?.ref.namespace === namespace) return false;
    for (const other of picture.entriesOfHost(host))
      if (other.ref.namespace === namespace && compareByAge(other, entry) < 0) return false;
    return true;
  });
}

/** The Service that a host name names, if there is one. */
function serviceOfHost(
  picture: Picture,
  settings: MeshSettings,
  host: string,
): Service | undefined {
  const suffix = `.svc.${settings.clusterDomain}`;
  if (!host.endsWith(suffix)) return undefined;
  const [name = '', namespace = '', ...more] = host.slice(0, -suffix.length).split('.');
  const found = more.length > 0 ? undefined : picture.get('Service', namespace, name);
  return found?.spec.type === 'ExternalName' ? undefined : found;
}

function isCanonical(
  picture: Picture,
  settings: MeshSettings,
  entry: ServiceEntry,
  host: string,
): boolean {
  if (serviceOfHost(picture, settings, host) !== undefined) return false;
  for (const other of picture.entriesOfHost(host)) if (compareByAge(other, entry) < 0) return false;
  return true;
}

/** What somebody, upstream's control plane perhaps, has given to a host before. */
function statusAddresses({ status }: ServiceEntry, host: string): string[] {
  return status.addresses.flatMap((each) => (each.host === host ? [each.value] : []));
}

/** A resolution of NONE has no VIP to go to; a wildcard only where the proxy resolves what was asked for. */
function wantsVip(entry: ServiceEntry, host: string): boolean {
  const { resolution } = entry.spec;
  if (entry.metadata.labels.get(ENABLE_AUTOALLOCATE_IP) === 'false') return false;
  return resolution !== 'NONE' && (!host.startsWith('*') || resolution === 'DYNAMIC_DNS');
}

function published(
  binding: WaypointBinding,
): Pick<MeshService, 'weightedWaypoints' | 'ingressUseWaypoint' | 'waypoint' | 'waypointProblem'> {
  const { waypoint, waypointProblem, weightedWaypoints, ingressUseWaypoint } = binding;
  return {
    ...(waypoint === undefined ? {} : { waypoint }),
    ...(waypointProblem === undefined ? {} : { waypointProblem }),
    ...{ weightedWaypoints, ingressUseWaypoint },
  };
}

function refusedExternalName(service: Service): Condition {
  return {
    type: 'halo.dev/Accepted',
    status: 'False',
    reason: 'UnsupportedType',
    message:
      `type ExternalName is not supported: ${service.spec.externalName} is reached without the mesh; ` +
      'use a ServiceEntry with resolution DNS',
  };
}

function missingForWildcard(): Condition {
  return {
    type: 'istio.io/WaypointMissing',
    status: 'True',
    reason: 'NoWaypointForWildcardService',
    message: 'a wildcard host needs a waypoint to be resolved',
  };
}

function clusterIps(service: Service, network: string): NetworkAddress[] {
  const { clusterIP, clusterIPs } = service.spec;
  const texts = clusterIPs.length > 0 ? clusterIPs : [clusterIP];
  return texts.flatMap((text) => {
    const ip = tryParseIpAddress(text); // "None" and "" are none
    return ip === undefined ? [] : [{ network, ip }];
  });
}

function vipOf(address: string, network: string): NetworkAddress {
  const { ip, prefix } = parseCidr(address);
  const full = ip.includes(':') ? 128 : 32;
  return prefix === full ? { network, ip } : { network, ip, prefix };
}

function familiesOf(families: readonly string[]): IpFamilies {
  const v4 = families.includes('IPv4');
  const v6 = families.includes('IPv6');
  if (v4 && v6) return 'DUAL';
  return v4 ? 'IPV4_ONLY' : v6 ? 'IPV6_ONLY' : 'AUTOMATIC';
}

/** The first value that is there decides, also when it is unknown. */
function distribution(
  picture: Picture,
  namespace: string,
  own: readonly (string | undefined)[],
): Balancing {
  const annotations = picture.get('Namespace', '', namespace)?.metadata.annotations;
  const values = [...own, annotations?.get(TRAFFIC_DISTRIBUTION)];
  const value = values.find((text) => text !== undefined && text !== '') ?? '';
  return DISTRIBUTIONS.get(value.toLowerCase()) ?? NO_PREFERENCE;
}

/** The accounts of the endpoints that a selector finds; an endpoint without account is `undefined`. */
function accountsOfSelector(
  picture: Picture,
  namespace: string,
  selector: Labels | undefined,
): ReadonlySet<string | undefined> {
  const accounts = new Set<string | undefined>();
  // Without a selector the endpoints come from elsewhere, and nothing is known of their accounts.
  if (selector === undefined || selector.size === 0) return new Set([undefined]);
  for (const pod of picture.list('Pod', namespace))
    if (labelsMatch(selector, pod.metadata.labels) && !isFinished(pod))
      accounts.add(pod.spec.serviceAccountName || 'default');
  for (const entry of picture.list('WorkloadEntry', namespace))
    if (labelsMatch(selector, entry.spec.labels))
      accounts.add(entry.spec.serviceAccount || undefined);
  return accounts;
}

/** A pod that will never run again. */
export function isFinished(pod: Pod): boolean {
  return pod.status.phase === 'Succeeded' || pod.status.phase === 'Failed';
}
