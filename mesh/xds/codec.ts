import { hash } from 'node:crypto';
import { ipToBytes } from '../../base/address.ts';
import { describeError, MeshError } from '../../base/errors.ts';
import { DEFAULT_TRUST_DOMAIN, parseTrustDomain, type TrustDomain } from '../model/identity.ts';
import type { LoadBalancing, Service } from '../model/service.ts';
import type { Workload, WorkloadUid } from '../model/workload.ts';
import { decodeMessage } from '../proto/decode.ts';
import { StringValue } from '../proto/gen/google/protobuf/wrappers.ts';
import {
  Address,
  ApplicationTunnel_Protocol,
  IPFamilies,
  LoadBalancing_HealthPolicy,
  LoadBalancing_Mode,
  LoadBalancing_Scope,
  NetworkMode,
  TunnelProtocol,
  Visibility,
  WorkloadStatus,
  WorkloadType as WorkloadTypes,
  type Extension,
  type LoadBalancing as LoadBalancingMessage,
  type Service as ServiceMessage,
  type Workload as WorkloadMessage,
} from '../proto/gen/workload.ts';
import { WorkloadLabels } from '../proto/gen/waypoint-traffic.ts';
import {
  decodeEnum,
  decodeGateway,
  decodeIp,
  decodeNetworkAddress,
  decodePolicyKey,
  decodePort,
  decodePorts,
  decodeServiceKey,
  encodeBytes,
  encodeGateway,
  encodeNetworkAddress,
  encodePorts,
  resourceError,
} from './codec-fields.ts';
import { sorted } from './codec-values.ts';

export const ADDRESS_TYPE = 'type.googleapis.com/istio.workload.Address';
export const AUTHORIZATION_TYPE = 'type.googleapis.com/istio.security.Authorization';

/** What one Address resource holds. */
export type AddressRecord = Readonly<
  { kind: 'workload'; workload: Workload } | { kind: 'service'; service: Service }
>;

/** Extension by which the control plane says why the waypoint that was asked for cannot be used. */
const WAYPOINT_PROBLEM = 'halo.dev/waypoint-problem';
/** Extension by which waypoints are told the labels of a workload. */
const LABELS = 'halo.dev/labels';
const LABELS_TYPE = 'type.googleapis.com/halo.waypoint.v1alpha1.WorkloadLabels';
const STRING_VALUE_TYPE = 'type.googleapis.com/google.protobuf.StringValue';
/** The cluster of a workload that names none; istio/ztunnel src/state/workload.rs. */
const DEFAULT_CLUSTER = 'Kubernetes';
const DEFAULT_SERVICE_ACCOUNT = 'default';

const NO_LOAD_BALANCING: LoadBalancing = {
  routingPreference: [],
  mode: 'UNSPECIFIED',
  allowUnhealthy: false,
};

/**
 * Decodes an istio.workload.Address. Unknown fields are skipped.
 *
 * @throws {MeshError} ERR_XDS_RESOURCE for unknown enum values, bad addresses, ports or names; ERR_PROTO for what is no message.
 */
export function decodeAddress(bytes: Uint8Array): AddressRecord {
  const { type } = decodeMessage(Address, bytes, 'an Address resource', 'upstream');
  switch (type?.$case) {
    case 'workload':
      return { kind: 'workload', workload: named(type.value.uid, decodeWorkload, type.value) };
    case 'service':
      return { kind: 'service', service: named(type.value.hostname, decodeService, type.value) };
    case undefined:
      throw resourceError('Cannot decode an Address resource: neither workload nor service');
  }
}

/** The bytes of an istio.workload.Address, without labels of workloads; equal records give equal bytes. */
export function encodeAddress(record: AddressRecord): Uint8Array {
  return encodeRecord(record, []);
}

/** The same for a waypoint, which is told the labels of workloads too. */
export function encodeLabelledAddress(record: AddressRecord): Uint8Array {
  return encodeRecord(record, record.kind === 'workload' ? encodeLabels(record.workload) : []);
}

function encodeRecord(record: AddressRecord, more: readonly Extension[]): Uint8Array {
  if (record.kind === 'service')
    return Address.encode({
      type: { $case: 'service', value: encodeService(record.service) },
    }).finish();
  const value = encodeWorkload(record.workload);
  value.extensions.push(...more);
  return Address.encode({ type: { $case: 'workload', value } }).finish();
}

/** The version of a resource: 16 hexadecimal digits of a hash of its bytes, the same in every replica and after a restart. */
export function contentVersion(bytes: Uint8Array): string {
  return hash('sha256', bytes, 'hex').slice(0, 16);
}

/** Decodes with the resource's name in the error. */
function named<T, M>(name: string, decode: (message: M) => T, message: M): T {
  try {
    return decode(message);
  } catch (error) {
    if (error instanceof MeshError && error.code === 'ERR_XDS_RESOURCE')
      throw resourceError(`Cannot use ${JSON.stringify(name)}: ${describeError(error)}`);
    throw error;
  }
}

function decodeWorkload(message: WorkloadMessage): Workload {
  if (message.uid === '') throw resourceError('no uid');
  const { applicationTunnel: tunnel, locality } = message;
  const waypoint = decodeGateway(message.waypoint, 'waypoint');
  const networkGateway = decodeGateway(message.networkGateway, 'network_gateway');
  const problem = findWaypointProblem(message.extensions);
  const labels = findLabels(message.extensions);
  const proxied =
    tunnel !== undefined &&
    decodeEnum(ApplicationTunnel_Protocol, tunnel.protocol, 'application_tunnel.protocol') ===
      'PROXY';
  const tunnelProtocol = decodeEnum(TunnelProtocol, message.tunnelProtocol, 'tunnel_protocol');
  if (tunnelProtocol === 'LEGACY_ISTIO_MTLS')
    throw resourceError('tunnel_protocol LEGACY_ISTIO_MTLS is not supported');
  return {
    uid: message.uid as WorkloadUid,
    name: message.name,
    namespace: message.namespace,
    addresses: message.addresses.map((bytes) => decodeIp(bytes, 'addresses')),
    hostname: message.hostname,
    network: message.network,
    clusterId: message.clusterId === '' ? DEFAULT_CLUSTER : message.clusterId,
    tunnelProtocol,
    nativeTunnel: message.nativeTunnel,
    trustDomain: decodeTrustDomain(message.trustDomain),
    serviceAccount:
      message.serviceAccount === '' ? DEFAULT_SERVICE_ACCOUNT : message.serviceAccount,
    node: message.node,
    canonicalName: message.canonicalName,
    canonicalRevision: message.canonicalRevision,
    workloadType: decodeEnum(WorkloadTypes, message.workloadType, 'workload_type'),
    workloadName: message.workloadName,
    healthy: decodeEnum(WorkloadStatus, message.status, 'status') === 'HEALTHY',
    hostNetwork: decodeEnum(NetworkMode, message.networkMode, 'network_mode') === 'HOST_NETWORK',
    locality: locality ?? { region: '', zone: '', subzone: '' },
    capacity: message.capacity ?? 1,
    ...(waypoint === undefined ? {} : { waypoint }),
    ...(problem === undefined ? {} : { waypointProblem: problem }),
    ...(networkGateway === undefined ? {} : { networkGateway }),
    ...(proxied
      ? {
          applicationTunnel: {
            port: decodePort(tunnel.port, 'application_tunnel', { zero: true }),
          },
        }
      : {}),
    services: new Map(
      [...message.services].map(([key, list]) => [
        decodeServiceKey(key),
        decodePorts(list.ports, 'services'),
      ]),
    ),
    authorizationPolicies: message.authorizationPolicies.map(decodePolicyKey),
    ...(labels === undefined ? {} : { labels }),
  };
}

function encodeWorkload(workload: Workload): WorkloadMessage {
  const { locality, applicationTunnel, capacity } = workload;
  const somewhere = locality.region !== '' || locality.zone !== '' || locality.subzone !== '';
  const byKey = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number =>
    a < b ? -1 : 1;
  return {
    uid: workload.uid,
    name: workload.name,
    namespace: workload.namespace,
    addresses: workload.addresses.map((ip) => encodeBytes(ipToBytes(ip))),
    hostname: workload.hostname,
    network: workload.network,
    clusterId: workload.clusterId,
    tunnelProtocol: TunnelProtocol[workload.tunnelProtocol],
    nativeTunnel: workload.nativeTunnel,
    trustDomain: workload.trustDomain === DEFAULT_TRUST_DOMAIN ? '' : workload.trustDomain,
    serviceAccount: workload.serviceAccount,
    node: workload.node,
    canonicalName: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    workloadType: WorkloadTypes[workload.workloadType],
    workloadName: workload.workloadName,
    status: workload.healthy ? WorkloadStatus.HEALTHY : WorkloadStatus.UNHEALTHY,
    networkMode: workload.hostNetwork ? NetworkMode.HOST_NETWORK : NetworkMode.STANDARD,
    locality: somewhere ? { ...locality } : undefined,
    capacity: capacity === 1 ? undefined : capacity,
    waypoint: encodeGateway(workload.waypoint),
    networkGateway: encodeGateway(workload.networkGateway),
    applicationTunnel:
      applicationTunnel === undefined
        ? undefined
        : { protocol: ApplicationTunnel_Protocol.PROXY, port: applicationTunnel.port },
    services: new Map(
      [...workload.services]
        .sort(byKey)
        .map(([key, ports]) => [key, { ports: encodePorts(ports) }] as const),
    ),
    authorizationPolicies: [...workload.authorizationPolicies],
    extensions: encodeWaypointProblem(workload.waypointProblem),
  };
}

function decodeService(message: ServiceMessage): Service {
  if (message.hostname === '' || message.namespace === '')
    throw resourceError('no host name or no namespace');
  const waypoint = decodeGateway(message.waypoint, 'waypoint');
  const problem = findWaypointProblem(message.extensions);
  return {
    name: message.name,
    namespace: message.namespace,
    hostname: message.hostname,
    addresses: message.addresses.map((each) => decodeNetworkAddress(each, 'addresses')),
    ports: decodePorts(message.ports, 'ports'),
    subjectAltNames: message.subjectAltNames,
    ...(waypoint === undefined ? {} : { waypoint }),
    ...(problem === undefined ? {} : { waypointProblem: problem }),
    weightedWaypoints: message.weightedWaypoints.map(({ destination, weight }) => {
      const gateway = decodeGateway(destination, 'weighted_waypoints');
      if (gateway === undefined) throw resourceError('no destination in weighted_waypoints');
      return { destination: gateway, weight };
    }),
    loadBalancing: decodeLoadBalancing(message.loadBalancing),
    ipFamilies: decodeEnum(IPFamilies, message.ipFamilies, 'ip_families'),
    canonical: message.canonical,
    ingressUseWaypoint: message.ingressUseWaypoint,
    namespaceOnly: decodeEnum(Visibility, message.visibility, 'visibility') === 'NAMESPACE',
  };
}

function encodeService(service: Service): ServiceMessage {
  return {
    name: service.name,
    namespace: service.namespace,
    hostname: service.hostname,
    addresses: service.addresses.map(encodeNetworkAddress),
    ports: encodePorts(service.ports),
    subjectAltNames: [...service.subjectAltNames],
    waypoint: encodeGateway(service.waypoint),
    weightedWaypoints: service.weightedWaypoints.map(({ destination, weight }) => ({
      destination: encodeGateway(destination),
      weight,
    })),
    loadBalancing: encodeLoadBalancing(service.loadBalancing),
    ipFamilies: IPFamilies[service.ipFamilies],
    canonical: service.canonical,
    ingressUseWaypoint: service.ingressUseWaypoint,
    visibility: service.namespaceOnly ? Visibility.NAMESPACE : Visibility.PUBLIC,
    extensions: encodeWaypointProblem(service.waypointProblem),
  };
}

function decodeLoadBalancing(message: LoadBalancingMessage | undefined): LoadBalancing {
  if (message === undefined) return NO_LOAD_BALANCING;
  const mode = decodeEnum(LoadBalancing_Mode, message.mode, 'load_balancing.mode');
  const scopes = message.routingPreference.map((scope) => {
    const name = decodeEnum(LoadBalancing_Scope, scope, 'load_balancing.routing_preference');
    if (name === 'UNSPECIFIED_SCOPE') throw resourceError('an unspecified routing preference');
    return name;
  });
  const field = 'load_balancing.health_policy';
  return {
    routingPreference: scopes,
    mode: mode === 'UNSPECIFIED_MODE' ? 'UNSPECIFIED' : mode,
    allowUnhealthy:
      decodeEnum(LoadBalancing_HealthPolicy, message.healthPolicy, field) === 'ALLOW_ALL',
  };
}

function encodeLoadBalancing(value: LoadBalancing): LoadBalancingMessage | undefined {
  const { routingPreference, mode, allowUnhealthy } = value;
  if (mode === 'UNSPECIFIED' && routingPreference.length === 0 && !allowUnhealthy) return undefined;
  return {
    routingPreference: routingPreference.map((scope) => LoadBalancing_Scope[scope]),
    mode: LoadBalancing_Mode[mode === 'UNSPECIFIED' ? 'UNSPECIFIED_MODE' : mode],
    healthPolicy: allowUnhealthy
      ? LoadBalancing_HealthPolicy.ALLOW_ALL
      : LoadBalancing_HealthPolicy.ONLY_HEALTHY,
  };
}

function findWaypointProblem(extensions: readonly Extension[]): string | undefined {
  const found = extensions.find(({ name }) => name === WAYPOINT_PROBLEM);
  if (found === undefined) return undefined;
  // Whatever it says, its presence means that the waypoint cannot be used.
  if (found.config?.typeUrl !== STRING_VALUE_TYPE) return 'the waypoint cannot be used';
  return decodeMessage(StringValue, found.config.value, WAYPOINT_PROBLEM, 'upstream').value;
}

function encodeWaypointProblem(reason: string | undefined): Extension[] {
  if (reason === undefined) return [];
  const value = encodeBytes(StringValue.encode({ value: reason }).finish());
  return [{ name: WAYPOINT_PROBLEM, config: { typeUrl: STRING_VALUE_TYPE, value } }];
}

function findLabels(extensions: readonly Extension[]): ReadonlyMap<string, string> | undefined {
  const config = extensions.find(({ name }) => name === LABELS)?.config;
  if (config?.typeUrl !== LABELS_TYPE) return undefined;
  return decodeMessage(WorkloadLabels, config.value, LABELS, 'upstream').labels;
}

function encodeLabels({ labels = new Map() }: Workload): Extension[] {
  if (labels.size === 0) return [];
  const message = { labels: new Map(sorted(labels)) };
  const value = encodeBytes(WorkloadLabels.encode(message).finish());
  return [{ name: LABELS, config: { typeUrl: LABELS_TYPE, value } }];
}

function decodeTrustDomain(text: string): TrustDomain {
  try {
    return text === '' ? DEFAULT_TRUST_DOMAIN : parseTrustDomain(text);
  } catch (cause) {
    throw resourceError('bad trust_domain', cause);
  }
}
