import { isLoopback, type SocketAddress } from '../../base/address.ts';
import type { Authority } from '../../mesh/hbone/authority.ts';
import type { ExplainStep } from '../../mesh/model/explain.ts';
import type { GatewayAddress } from '../../mesh/model/gateway-address.ts';
import { HBONE_PORT } from '../../mesh/model/ports.ts';
import type { Service } from '../../mesh/model/service.ts';
import { workloadIdentity, type Workload } from '../../mesh/model/workload.ts';
import { unansweredAddress, unansweredGateway } from '../../mesh/proxy/state/answered.ts';
import {
  chooseEndpoint,
  selectGateway,
  type Ask,
  type GatewayHop,
} from '../../mesh/proxy/gateway-hop.ts';
import { addressOf, parseSans, peersOf } from '../../mesh/proxy/next-hop.ts';
import {
  chooseWaypoint,
  comesFromGateway,
  describeGateway,
} from '../../mesh/proxy/state/gateway.ts';
import type { ProxyState } from '../../mesh/proxy/state/store.ts';
import { keyOfService } from '../../mesh/proxy/state/vips.ts';
import {
  describeRoute,
  type OutboundRequest,
  type OutboundRoute,
  type RejectCode,
} from './outbound-route.ts';

type Reject = Extract<OutboundRoute, { kind: 'reject' }>;

/** What a selection works with; `note` is there only when somebody asked why. */
type RouteContext = Readonly<{
  state: ProxyState;
  request: OutboundRequest;
  note: ((step: string, found: () => string) => void) | undefined;
}>;

/**
 * Decides where a captured connection goes. Asked again after a failure, with what was tried, it finds the next best way.
 *
 * @param steps collects what was looked up and found, for an explanation.
 */
export function selectRoute(
  state: ProxyState,
  request: OutboundRequest,
  steps?: ExplainStep[],
): OutboundRoute {
  const note =
    steps && ((step: string, found: () => string) => void steps.push({ step, found: found() }));
  const context = { state, request, note };
  const { destination, source, network, ownPorts } = request;
  if (isLoopback(destination.ip) && ownPorts.has(destination.port))
    return reject('ERR_OWN_PORT', 'attempted recursive call to ourselves');
  const key = unansweredAddress(state, network, destination.ip);
  if (key !== undefined) return { kind: 'ask', key };

  // Who answers for the address here decides whether a service was addressed; a workload goes first.
  const addressed =
    state.workloadAt(network, destination.ip) === undefined
      ? state.serviceAt(network, destination.ip, source.namespace)
      : undefined;
  note?.('service addressed', () =>
    addressed === undefined ? 'none' : `${keyOfService(addressed)} at ${destination.ip}`,
  );
  if (addressed !== undefined) {
    const viaWaypoint = routeToServiceWaypoint(context, addressed);
    if (viaWaypoint !== undefined) return viaWaypoint;
  }
  // For the upstream a service at the address goes first, as in istio/ztunnel.
  const service = state.serviceAt(network, destination.ip, source.namespace);
  if (service === undefined) return routeToWorkload(context);
  if (service.loadBalancing.mode === 'PASSTHROUGH') {
    note?.('load balancing', () => 'PASSTHROUGH: the address that was asked for');
    return { kind: 'passthrough', connectTo: destination, service };
  }
  return routeToEndpoint(context, service, addressed !== undefined);
}

/** `undefined` when the service has none, or the waypoint itself is calling. */
function routeToServiceWaypoint(
  context: RouteContext,
  service: Service,
): OutboundRoute | undefined {
  const { request, note } = context;
  if (service.waypointProblem !== undefined)
    return waypointUnavailable(service.waypointProblem, { service });
  const waypoint = chooseWaypoint(service, request.random);
  note?.('waypoint of the service', () => (waypoint ? describeGateway(waypoint) : 'none'));
  if (waypoint === undefined) return undefined;
  const caller = isCaller(context, waypoint);
  if (typeof caller === 'object') return caller;
  return caller ? undefined : routeToWaypoint(context, waypoint, { service });
}

/** The caller is the waypoint: sending it to itself would never end. */
function isCaller({ state, request, note }: RouteContext, waypoint: GatewayAddress): boolean | Ask {
  const key = unansweredGateway(state, waypoint);
  if (key !== undefined) return { kind: 'ask', key };
  const identity = workloadIdentity(request.source);
  const source = { network: request.network, ip: request.sourceIp, identity };
  const from = comesFromGateway(state, waypoint, source);
  if (from) note?.('caller', () => 'the waypoint itself');
  return from;
}

/** @param wanted what the waypoint stands in front of: a service, or a workload. */
function routeToWaypoint(
  context: RouteContext,
  waypoint: GatewayAddress,
  wanted: Readonly<{ service?: Service; workload?: Workload; address?: SocketAddress }>,
): OutboundRoute {
  const { request, note } = context;
  const hop = selectGateway(context, waypoint, 'waypoint');
  if (hop.kind === 'resolve' || hop.kind === 'ask') return hop;
  if (hop.kind === 'none') return waypointUnavailable(hop.reason, wanted);
  note?.('waypoint instance', () => hop.workload.uid);
  const { service } = wanted;
  if (hop.workload.network !== request.network) {
    if (service === undefined)
      return waypointUnavailable('it is in another network, which services only reach', wanted);
    return routeThroughNetworkGateway(context, service, hop.workload, hop.service ?? service);
  }
  if (hop.connectTo === undefined) return waypointUnavailable('it has no address', wanted);
  return {
    kind: 'hbone',
    via: 'waypoint',
    connectTo: hop.connectTo,
    authority: { kind: 'address', address: wanted.address ?? request.destination },
    peers: peersOf(hop.workload, hop.service),
    workload: hop.workload,
    ...(service && { service }),
  };
}

function routeToEndpoint(
  context: RouteContext,
  service: Service,
  isAddressed: boolean,
): OutboundRoute {
  const { request, note } = context;
  const choice = chooseEndpoint(context, service, request.destination.port, 'standard');
  note?.(`endpoint of ${keyOfService(service)}`, () =>
    choice.kind === 'none'
      ? choice.reason
      : `${choice.workload.uid} port ${choice.port}, of ${choice.considered} equally near`,
  );
  if (choice.kind === 'none')
    return reject('ERR_NO_HEALTHY_UPSTREAM', `no healthy upstream: ${choice.reason}`, { service });
  const { workload, port } = choice;
  if (workload.network !== request.network)
    return routeThroughNetworkGateway(context, service, workload, service);
  return routeToPod(context, workload, port, service, isAddressed);
}

function routeToWorkload(context: RouteContext): OutboundRoute {
  const { state, request, note } = context;
  const { destination, tried } = request;
  const workload = state.workloadAt(request.network, destination.ip);
  note?.('workload addressed', () => workload?.uid ?? 'none');
  if (workload === undefined) return { kind: 'passthrough', connectTo: destination };
  if (tried.has(workload.uid)) {
    const reason = `no healthy upstream: ${workload.uid} was tried, and there is no other`;
    return reject('ERR_NO_HEALTHY_UPSTREAM', reason, { workload });
  }
  return routeToPod(context, workload, destination.port, undefined, false);
}

/** The last hop: through the pod's own waypoint where it has one, else to its tunnel, else plain. */
function routeToPod(
  context: RouteContext,
  workload: Workload,
  port: number,
  service: Service | undefined,
  isAddressed: boolean,
): OutboundRoute {
  const { request, note } = context;
  const target = service === undefined ? { workload } : { workload, service };
  const ip = addressOf(request, workload, service);
  if (ip === undefined) return routeWithout(context, workload);
  if (typeof ip === 'object') return ip;
  const address = { ip, port };

  const { waypoint } = workload;
  note?.('waypoint of the workload', () => (waypoint ? describeGateway(waypoint) : 'none'));
  // The workload's proxy refuses what does not come from its waypoint, so a connection that came to it by way of a
  // service (which has no waypoint) goes there too; istio/ztunnel would dial the pod.
  const fromWaypoint = waypoint !== undefined && isCaller(context, waypoint);
  if (typeof fromWaypoint === 'object') return fromWaypoint;
  if (workload.waypointProblem !== undefined && !fromWaypoint)
    return waypointUnavailable(workload.waypointProblem, target);
  if (waypoint !== undefined && !fromWaypoint) {
    const wanted = isAddressed ? address : request.destination;
    return routeToWaypoint(context, waypoint, { ...target, address: wanted });
  }
  switch (workload.tunnelProtocol) {
    case 'NONE':
      return { kind: 'plain', connectTo: address, ...target };
    case 'HBONE':
      return {
        kind: 'hbone',
        via: 'direct',
        connectTo: { ip, port: HBONE_PORT },
        authority: { kind: 'address', address },
        peers: peersOf(workload, service),
        ...target,
      };
  }
}

/** @param remote the service whose names the inner tunnel must meet: that of the remote waypoint, else the target. */
function routeThroughNetworkGateway(
  context: RouteContext,
  service: Service,
  workload: Workload,
  remote: Service,
): OutboundRoute {
  const { request, note } = context;
  const { networkGateway } = workload;
  const failed = (reason: string): Reject =>
    reject('ERR_NETWORK_GATEWAY', `cannot reach network ${workload.network}: ${reason}`, {
      service,
      workload,
    });
  if (networkGateway === undefined) return failed(`${workload.uid} names no gateway`);
  const hop = selectGateway(context, networkGateway, 'gateway');
  note?.(`gateway of network ${workload.network}`, () => describeHop(hop));
  if (hop.kind === 'resolve' || hop.kind === 'ask') return hop;
  if (hop.kind === 'none') return failed(hop.reason);
  if (hop.connectTo === undefined) return failed('its gateway has no address');
  const innerPeers = parseSans(remote.subjectAltNames);
  if (innerPeers.length === 0)
    return failed(`${keyOfService(remote)} names no identities, so nobody there can be accepted`);
  const authority: Authority = {
    kind: 'hostname',
    hostname: service.hostname,
    port: request.destination.port,
  };
  return {
    kind: 'double-hbone',
    connectTo: hop.connectTo,
    authority,
    peers: peersOf(hop.workload, hop.service),
    inner: { authority, peers: innerPeers },
    workload: hop.workload,
    service,
  };
}

function describeHop(hop: GatewayHop): string {
  switch (hop.kind) {
    case 'found':
      return hop.workload.uid;
    case 'none':
      return hop.reason;
    case 'resolve':
    case 'ask':
      return describeRoute(hop);
  }
}

/** A workload without an address (its name resolves to nothing) counts as tried. */
function routeWithout({ state, request, note }: RouteContext, workload: Workload): OutboundRoute {
  note?.(`address of ${workload.uid}`, () => 'none');
  const tried = new Set(request.tried).add(workload.uid);
  return selectRoute(state, { ...request, tried });
}

function waypointUnavailable(
  reason: string,
  target: Readonly<{ service?: Service; workload?: Workload }>,
): Reject {
  const { service, workload } = target;
  const whose = service === undefined ? workload?.uid : keyOfService(service);
  const message = `the waypoint of ${whose ?? 'the destination'} cannot be used: ${reason}`;
  return reject('ERR_WAYPOINT_UNAVAILABLE', message, target);
}

function reject(
  code: RejectCode,
  reason: string,
  target: Readonly<{ service?: Service; workload?: Workload }> = {},
): Reject {
  const { service, workload } = target;
  return {
    kind: 'reject',
    code,
    reason,
    ...(service && { service }),
    ...(workload && { workload }),
  };
}
