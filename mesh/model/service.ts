import type { IpAddress } from '../../base/address.ts';
import type { Brand } from '../../base/brand.ts';
import type { GatewayAddress } from './gateway-address.ts';

/** `<namespace>/<hostname>`. */
export type ServiceKey = Brand<string, 'ServiceKey'>;

export type AppProtocol = 'UNKNOWN' | 'HTTP11' | 'HTTP2' | 'GRPC' | 'TCP' | 'TLS';

/** targetPort 0: not known to the service (it was named); the endpoint's own mapping decides. */
export type PortMapping = Readonly<{
  servicePort: number;
  targetPort: number;
  appProtocol: AppProtocol;
}>;

/** A VIP: one address, or a network when `prefix` is there and shorter than the address. */
export type NetworkAddress = Readonly<{ network: string; ip: IpAddress; prefix?: number }>;

export type RoutingScope = 'REGION' | 'ZONE' | 'SUBZONE' | 'NODE' | 'CLUSTER' | 'NETWORK';

export type LoadBalancing = Readonly<{
  routingPreference: readonly RoutingScope[];
  mode: 'UNSPECIFIED' | 'STRICT' | 'FAILOVER' | 'PASSTHROUGH';
  /** True: unhealthy endpoints are used too (publishNotReadyAddresses). */
  allowUnhealthy: boolean;
}>;

export type IpFamilies = 'AUTOMATIC' | 'IPV4_ONLY' | 'IPV6_ONLY' | 'DUAL';

/** As istio.workload.Service has it. Its endpoints are carried by the workloads. */
export type Service = Readonly<{
  name: string;
  namespace: string;
  hostname: string;
  /** Empty for a headless service. */
  addresses: readonly NetworkAddress[];
  ports: readonly PortMapping[];
  /** SPIFFE ids or others, as they came; only those that parse are accepted of a peer. */
  subjectAltNames: readonly string[];
  waypoint?: GatewayAddress;
  weightedWaypoints: readonly Readonly<{ destination: GatewayAddress; weight: number }>[];
  /** Halo's extension: why the waypoint that was asked for cannot be used; connections are refused with it. */
  waypointProblem?: string;
  loadBalancing: LoadBalancing;
  ipFamilies: IpFamilies;
  /** The record that wins among several with this host name. */
  canonical: boolean;
  ingressUseWaypoint: boolean;
  /** True: only clients of its own namespace see it. */
  namespaceOnly: boolean;
}>;

export function serviceKey(namespace: string, hostname: string): ServiceKey {
  return `${namespace}/${hostname}` as ServiceKey;
}
