import type { IpAddress, SocketAddress } from '../base/address.ts';
import { parseIpAddress } from '../base/address.ts';
import { unreachable } from '../base/unreachable.ts';
import type { Authority } from '../mesh/hbone/authority.ts';
import { selectEndpoint } from '../mesh/model/endpoint.ts';
import type { GatewayAddress } from '../mesh/model/gateway-address.ts';
import type { SpiffeId } from '../mesh/model/identity.ts';
import { HBONE_PORT } from '../mesh/model/ports.ts';
import type { Service } from '../mesh/model/service.ts';
import type { Workload, WorkloadUid } from '../mesh/model/workload.ts';
import { selectGateway } from '../mesh/proxy/gateway-hop.ts';
import { addressOf, peersOf, type Resolve } from '../mesh/proxy/next-hop.ts';
import type { ProxyState } from '../mesh/proxy/state/store.ts';
import { keyOfService } from '../mesh/proxy/state/vips.ts';
import type { ServiceTarget, Target } from './admit.ts';

/** One way from the waypoint to what was asked for. */
export type UpstreamRoute = Readonly<
  | {
      kind: 'hbone';
      connectTo: SocketAddress;
      authority: Authority;
      peers: readonly SpiffeId[];
      workload: Workload;
      service?: Service;
    }
  /** Outside of the mesh. Without a workload: the address that was asked for, and no other. */
  | { kind: 'plain'; connectTo: SocketAddress; workload?: Workload; service?: Service }
  | Resolve
  | { kind: 'reject'; reason: string; service?: Service }
>;

export type RouteRequest = Readonly<{
  target: Target;
  /** This waypoint. */
  self: Workload;
  tried: ReadonlySet<WorkloadUid>;
  resolved: ReadonlyMap<string, readonly IpAddress[]>;
  /** From 0 to below 1. */
  random: () => number;
}>;

/** Where the family of an address is nobody's wish. */
const NO_ADDRESS = { ip: parseIpAddress('0.0.0.0') };

/** Decides where a tunnel goes on to. Asked again after a failure, with what was tried, it finds the next best way. */
export function selectUpstream(state: ProxyState, request: RouteRequest): UpstreamRoute {
  const { target, self, tried, random } = request;
  if (target.kind === 'workload') {
    const { workload, port } = target;
    if (tried.has(workload.uid)) return noUpstream(`${workload.uid} was tried`);
    return routeToWorkload(request, workload, port, undefined);
  }
  const { service, port, authority, waypoint } = target;
  if (waypoint !== undefined) return routeToWaypoint(state, request, target, waypoint);
  const { loadBalancing } = service;
  if (loadBalancing.mode === 'PASSTHROUGH' && authority.kind === 'address')
    return { kind: 'plain', connectTo: authority.address, service };
  const key = keyOfService(service);
  const { list, uniform } = state.endpointView(key);
  const { network, clusterId, node, locality } = self;
  const choice = selectEndpoint({
    ...{ service, key, endpoints: list, uniform, servicePort: port },
    ...{ source: { network, clusterId, node, locality }, mode: 'waypoint', tried, random },
  });
  if (choice.kind === 'none') return noUpstream(choice.reason, service);
  return routeToWorkload(request, choice.workload, choice.port, service);
}

/** What is behind it is the waypoint's to choose. */
function routeToWaypoint(
  state: ProxyState,
  { self, tried, resolved, random }: RouteRequest,
  { service, authority }: ServiceTarget,
  waypoint: GatewayAddress,
): UpstreamRoute {
  const destination = authority.kind === 'address' ? authority.address : NO_ADDRESS;
  const request = { source: self, network: self.network, destination, tried, resolved, random };
  const hop = selectGateway({ state, request }, waypoint, 'waypoint');
  const unusable = (reason: string): UpstreamRoute =>
    noUpstream(`the waypoint of ${service.hostname} cannot be used: ${reason}`, service);
  switch (hop.kind) {
    case 'resolve':
      return hop;
    case 'none':
      return unusable(hop.reason);
    case 'ask':
      return unusable(`${hop.key} is not known`);
    case 'found':
      if (hop.connectTo === undefined)
        return unusable(`it is in network ${hop.workload.network}, not in ours`);
      return {
        ...{ kind: 'hbone', connectTo: hop.connectTo, authority, service },
        ...{ peers: peersOf(hop.workload, hop.service), workload: hop.workload },
      };
    default:
      return unreachable(hop);
  }
}

function routeToWorkload(
  request: RouteRequest,
  workload: Workload,
  port: number,
  service: Service | undefined,
): UpstreamRoute {
  const { target, self, resolved, random } = request;
  if (workload.network !== self.network)
    return noUpstream(`${workload.uid} is in network ${workload.network}, not in ours`, service);
  const destination = target.authority.kind === 'address' ? target.authority.address : NO_ADDRESS;
  const ip = addressOf({ destination, resolved, random }, workload, service);
  if (ip === undefined) return noUpstream(`${workload.uid} has no address`, service);
  if (typeof ip === 'object') return ip;
  const address = { ip, port };
  const upstream = { workload, ...(service && { service }) };
  if (workload.tunnelProtocol === 'NONE') return { kind: 'plain', connectTo: address, ...upstream };
  return {
    kind: 'hbone',
    connectTo: { ip, port: HBONE_PORT },
    authority: { kind: 'address', address },
    peers: peersOf(workload, service),
    ...upstream,
  };
}

function noUpstream(reason: string, service?: Service): UpstreamRoute {
  const rejected = { kind: 'reject', reason: `no healthy upstream: ${reason}` } as const;
  return service === undefined ? rejected : { ...rejected, service };
}
