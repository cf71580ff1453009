import type { IpAddress } from '../../base/address.ts';
import type { Brand } from '../../base/brand.ts';
import { perObject } from '../../base/per-object.ts';
import { makeSpiffeId, type SpiffeId, type TrustDomain } from './identity.ts';
import type { PolicyKey } from './authorization.ts';
import type { GatewayAddress } from './gateway-address.ts';
import type { PortMapping, ServiceKey } from './service.ts';

/** `<cluster>/<group>/<kind>/<namespace>/<name>`; a pod's group is empty. */
export type WorkloadUid = Brand<string, 'WorkloadUid'>;

export type TunnelProtocol = 'NONE' | 'HBONE';
export type WorkloadType = 'DEPLOYMENT' | 'CRONJOB' | 'POD' | 'JOB';
export type Locality = Readonly<{ region: string; zone: string; subzone: string }>;

/** A pod, VM or external endpoint, as istio.workload.Workload has it; texts that are absent are ''. */
export type Workload = Readonly<{
  uid: WorkloadUid;
  name: string;
  namespace: string;
  addresses: readonly IpAddress[];
  /** Resolved by DNS when there is no address. */
  hostname: string;
  network: string;
  clusterId: string;
  tunnelProtocol: TunnelProtocol;
  /** The workload listens on 15008 itself. */
  nativeTunnel: boolean;
  trustDomain: TrustDomain;
  serviceAccount: string;
  node: string;
  canonicalName: string;
  canonicalRevision: string;
  workloadType: WorkloadType;
  workloadName: string;
  healthy: boolean;
  /** Many host-network workloads share one address, so they are not found by it. */
  hostNetwork: boolean;
  locality: Locality;
  /** The relative weight as an endpoint; 0 takes no new connections. */
  capacity: number;
  waypoint?: GatewayAddress;
  /** Halo's extension: why the waypoint that was asked for cannot be used; connections are refused with it. */
  waypointProblem?: string;
  networkGateway?: GatewayAddress;
  /** Where a PROXY header is expected instead of plain bytes; port 0 is the target port. */
  applicationTunnel?: Readonly<{ port: number }>;
  /** The services it is an endpoint of, with its own target ports. */
  services: ReadonlyMap<ServiceKey, readonly PortMapping[]>;
  authorizationPolicies: readonly PolicyKey[];
  /** Halo's extension, for waypoints alone: what subsets select by. */
  labels?: ReadonlyMap<string, string>;
}>;

/**
 * What telemetry tells of a workload: one that the control plane has told of, or one that only a peer speaks for. Of the
 * latter nothing is proved, so it has none of what decisions ask for. Texts that are absent are ''.
 */
export type WorkloadDescription = Pick<
  Workload,
  | 'name'
  | 'namespace'
  | 'clusterId'
  | 'workloadName'
  | 'canonicalName'
  | 'canonicalRevision'
  | 'locality'
>;

/** @throws {MeshError} as makeSpiffeId(). */
export const workloadIdentity = perObject<Workload, SpiffeId>(makeSpiffeId);
