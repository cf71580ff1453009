import { formatSocketAddress, type IpAddress, type SocketAddress } from '../../base/address.ts';
import type { Authority } from '../../mesh/hbone/authority.ts';
import type { OwnPorts } from '../../mesh/model/ports.ts';
import type { SpiffeId } from '../../mesh/model/identity.ts';
import type { Service } from '../../mesh/model/service.ts';
import type { Workload, WorkloadUid } from '../../mesh/model/workload.ts';
import type { DemandKey } from '../../mesh/proxy/state/answered.ts';

/** A captured connection, and what has been learnt about it so far. */
export type OutboundRequest = Readonly<{
  /** The local workload that opened it, and the address that it came from. */
  source: Workload;
  sourceIp: IpAddress;
  destination: SocketAddress;
  /** The network of this node. */
  network: string;
  ownPorts: OwnPorts;
  /** The uids of routes that failed: `route.workload.uid`. */
  tried: ReadonlySet<WorkloadUid>;
  /** Answers to `resolve` routes, an empty one where the name has no address. */
  resolved: ReadonlyMap<string, readonly IpAddress[]>;
  /** From 0 to below 1. */
  random: () => number;
}>;

export type RejectCode =
  | 'ERR_OWN_PORT'
  | 'ERR_NO_HEALTHY_UPSTREAM'
  | 'ERR_WAYPOINT_UNAVAILABLE'
  | 'ERR_NETWORK_GATEWAY';

/** The workload that is dialled, and the service that was asked for. */
type Upstream = Readonly<{ workload: Workload; service?: Service }>;

/** One way a connection can go. */
export type OutboundRoute = Readonly<
  | ({
      kind: 'hbone';
      via: 'direct' | 'waypoint';
      connectTo: SocketAddress;
      authority: Authority;
      /** The identities that are accepted of the next hop. */
      peers: readonly SpiffeId[];
    } & Upstream)
  | ({
      kind: 'double-hbone';
      /** The gateway of the other network, and the tunnel to it. */
      connectTo: SocketAddress;
      authority: Authority;
      peers: readonly SpiffeId[];
      /** The tunnel inside it, to an endpoint that the gateway chooses. */
      inner: Readonly<{ authority: Authority; peers: readonly SpiffeId[] }>;
    } & Upstream)
  /** A known workload that speaks no HBONE. */
  | ({ kind: 'plain'; connectTo: SocketAddress } & Upstream)
  /** Nothing of the mesh: as if there were no proxy. */
  | { kind: 'passthrough'; connectTo: SocketAddress; service?: Service }
  /** Ask again with the addresses of this name in `resolved`. */
  | { kind: 'resolve'; hostname: string; workload: Workload }
  /** Ask again when the control plane has answered for this key. */
  | { kind: 'ask'; key: DemandKey }
  | { kind: 'reject'; code: RejectCode; reason: string; service?: Service; workload?: Workload }
>;

/** The next hop in words. */
export function describeRoute(route: OutboundRoute): string {
  switch (route.kind) {
    case 'hbone':
      return `HBONE to ${formatSocketAddress(route.connectTo)} (${route.via})`;
    case 'double-hbone':
      return `HBONE inside HBONE through the network gateway ${formatSocketAddress(route.connectTo)}`;
    case 'plain':
      return `plain TCP to ${formatSocketAddress(route.connectTo)}: the workload has no tunnel`;
    case 'passthrough':
      return `plain TCP to ${formatSocketAddress(route.connectTo)}: not a destination of the mesh`;
    case 'resolve':
      return `the name ${route.hostname} is to be resolved first`;
    case 'ask':
      return `the control plane is to be asked for ${route.key} first`;
    case 'reject':
      return route.reason;
  }
}
