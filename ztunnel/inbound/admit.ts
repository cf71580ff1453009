import {
  familyOf,
  formatSocketAddress,
  parseIpAddress,
  type IpAddress,
  type SocketAddress,
} from '../../base/address.ts';
import { describeError } from '../../base/errors.ts';
import { parseAuthority, type Authority } from '../../mesh/hbone/authority.ts';
import type { PolicyConnection } from '../../mesh/model/authorize.ts';
import { endpointPort } from '../../mesh/model/endpoint.ts';
import type { ExplainStep } from '../../mesh/model/explain.ts';
import type { GatewayAddress } from '../../mesh/model/gateway-address.ts';
import type { SpiffeId } from '../../mesh/model/identity.ts';
import { serviceKey, type Service, type ServiceKey } from '../../mesh/model/service.ts';
import type { Workload } from '../../mesh/model/workload.ts';
import {
  unansweredAddress,
  unansweredGateway,
  unansweredService,
  type DemandKey,
} from '../../mesh/proxy/state/answered.ts';
import type { RefusalStatus } from '../../mesh/proxy/refused-error.ts';
import {
  comesFromGateway,
  describeGateway,
  isInstance,
  waypointsOf,
} from '../../mesh/proxy/state/gateway.ts';
import type { ProxyState } from '../../mesh/proxy/state/store.ts';
import { keyOfService } from '../../mesh/proxy/state/vips.ts';
import type { Admission, PlaintextRequest, TunnelRequest } from './admission.ts';

const LOOPBACK = { 4: parseIpAddress('127.0.0.1'), 6: parseIpAddress('::1') };

type Note = ((step: string, found: () => string) => void) | undefined;
type Refusal = Extract<Admission, { kind: 'refuse' }>;
type Ask = Extract<Admission, { kind: 'ask' }>;

/** The address that a tunnel leads to, before policy. */
type Upstream = Readonly<{
  kind: 'upstream';
  /** In the pod, at the application. */
  address: SocketAddress;
  /** What the PROXY header names: what was asked for. */
  target: SocketAddress;
  service?: Service;
}>;

/**
 * Decides on a CONNECT request: what it asks for must be this pod's, it must come from the pod's waypoint where there is
 * one, and policy must allow it. The state is asked anew each time, so that live connections can be checked again.
 *
 * @param steps collects what was looked up and found, for an explanation.
 */
export function admitTunnel(
  state: ProxyState,
  request: TunnelRequest,
  steps?: ExplainStep[],
): Admission {
  const note = noteInto(steps);
  if (request.method !== 'CONNECT')
    return refuse(
      400,
      `only CONNECT is served, found ${JSON.stringify(request.method.slice(0, 32))}`,
    );
  let authority: Authority;
  try {
    authority = parseAuthority(request.authority);
  } catch (error) {
    return refuse(400, describeError(error));
  }
  const { workload } = request;
  note?.('local workload', () => workload?.uid ?? 'not known yet');
  if (workload === undefined) return refuse(503, 'the local workload is not known');
  const upstream = findUpstream(state, request, workload, authority, note);
  if (upstream.kind !== 'upstream') return upstream;
  const { address, target, service } = upstream;
  if (request.ownPorts.has(address.port))
    return refuse(503, `port ${address.port} is the proxy's own and is never proxied to`);

  const source = { network: request.network, ip: request.peerIp, identity: request.peerIdentity };
  const admission = authorize(state, workload, source, address, note);
  if (admission.kind !== 'admit') return admission;
  const named = service && { service };
  if (workload.applicationTunnel !== undefined) {
    const proxyHeader = { destination: target, sourceIdentity: request.peerIdentity };
    const ip = request.tunnelOnLoopback ? LOOPBACK[familyOf(address.ip)] : address.ip;
    return { ...admission, connectTo: { ip, port: address.port }, proxyHeader, ...named };
  }
  // A pod that calls itself cannot dial from its own address to its own address.
  const bindTo = request.peerIp === address.ip ? undefined : { bindTo: request.peerIp };
  return { ...admission, ...bindTo, ...named };
}

/** Decides on plaintext: by the same rules, without an identity. A refused connection is closed. */
export function admitPlaintext(
  state: ProxyState,
  request: PlaintextRequest,
  network: string,
  steps?: ExplainStep[],
): Admission {
  const note = noteInto(steps);
  const { workload, destination, peerIp } = request;
  note?.('local workload', () => workload?.uid ?? 'not known yet');
  if (workload === undefined) return refuse(503, 'the local workload is not known');
  if (request.ownPorts.has(destination.port))
    return refuse(503, `port ${destination.port} is the proxy's own and is never proxied to`);
  // A packet for another address reaches a pod only when somebody uses the pod as a router.
  if (workload.addresses.length > 0 && !workload.addresses.includes(destination.ip))
    return refuse(400, `ip mismatch: ${destination.ip} is not an address of ${workload.uid}`);
  const source = { network, ip: peerIp, identity: undefined };
  const admission = authorize(state, workload, source, destination, note);
  if (admission.kind !== 'admit' || peerIp === destination.ip) return admission;
  return { ...admission, bindTo: peerIp };
}

function findUpstream(
  state: ProxyState,
  request: TunnelRequest,
  workload: Workload,
  authority: Authority,
  note: Note,
): Upstream | Refusal | Ask {
  const { localIp, network } = request;
  if (authority.kind === 'hostname')
    return findByHostname(state, request, workload, authority, note);
  const { ip, port } = authority.address;
  const acceptable =
    ip === localIp ||
    workload.applicationTunnel !== undefined ||
    isBehind(state, workload, network, ip);
  if (typeof acceptable === 'object') return acceptable;
  note?.('destination of the tunnel', () =>
    ip === localIp
      ? `${ip}, this pod`
      : `${ip}, ${acceptable ? 'served' : 'not served'} by this pod`,
  );
  if (!acceptable) return refuse(400, `ip mismatch: ${ip} is not an address that this pod serves`);
  return {
    kind: 'upstream',
    address: { ip: localIp, port: tunnelPort(workload, port) },
    target: authority.address,
  };
}

/** A service by name: this pod must be one of its endpoints, or stand in front of it. */
function findByHostname(
  state: ProxyState,
  request: TunnelRequest,
  workload: Workload,
  authority: Extract<Authority, { kind: 'hostname' }>,
  note: Note,
): Upstream | Refusal | Ask {
  const { localIp, network } = request;
  const { hostname, port } = authority;
  for (const key of state.answered === undefined ? [] : meantBy(hostname, workload)) {
    const unanswered = unansweredService(state, key);
    if (unanswered !== undefined) return ask(unanswered);
  }
  const service = state.serviceByHost(hostname, workload.namespace);
  note?.(`service ${hostname}`, () => (service ? keyOfService(service) : 'not known'));
  if (service === undefined) return refuse(503, `unknown host name ${hostname}`);
  const key = keyOfService(service);
  const fronts =
    workload.services.has(key) ||
    workload.applicationTunnel !== undefined ||
    isWaypointOf(state, workload, service);
  if (typeof fronts === 'object') return fronts;
  if (!fronts) return refuse(503, `this pod is not an endpoint of ${key}`);
  const declared = service.ports.find(({ servicePort }) => servicePort === port);
  const targetPort = endpointPort(workload, key, port, declared);
  if (targetPort === undefined) return refuse(503, `${key} has no port ${port} at this pod`);
  const vips = service.addresses.filter(({ prefix }) => prefix === undefined);
  const vip =
    vips.find((address) => address.network === network && familyOf(address.ip) === 4) ??
    vips.find((address) => address.network === network) ??
    vips.find((address) => familyOf(address.ip) === 4) ??
    vips[0];
  return {
    kind: 'upstream',
    address: { ip: localIp, port: tunnelPort(workload, targetPort) },
    target: { ip: vip?.ip ?? localIp, port },
    service,
  };
}

/** The application behind a tunnel may listen elsewhere than on the port that was asked for. */
function tunnelPort(workload: Workload, port: number): number {
  const { applicationTunnel } = workload;
  return applicationTunnel === undefined || applicationTunnel.port === 0
    ? port
    : applicationTunnel.port;
}

/**
 * The services that a host name may stand for at this pod: those that the pod serves, one of its own namespace, and the
 * one of the namespace that a name of the cluster's says. Few, and what is none of them is not served here.
 */
function meantBy(hostname: string, workload: Workload): readonly ServiceKey[] {
  const served = [...workload.services.keys()].filter((key) => key.endsWith(`/${hostname}`));
  const [, namespace, kind] = hostname.split('.');
  const named = kind === 'svc' && namespace !== undefined ? [namespace] : [];
  const namespaces = new Set([workload.namespace, ...named]);
  return [...served, ...[...namespaces].map((each) => serviceKey(each, hostname))];
}

/** Whether `ip` is a service or workload whose waypoint is this pod. */
function isBehind(
  state: ProxyState,
  workload: Workload,
  network: string,
  ip: IpAddress,
): boolean | Ask {
  const key = unansweredAddress(state, network, ip);
  if (key !== undefined) return ask(key);
  const service = state.serviceAt(network, ip, workload.namespace);
  const behindService = service !== undefined && isWaypointOf(state, workload, service);
  if (behindService !== false) return behindService;
  const behind = state.workloadAt(network, ip)?.waypoint;
  return behind !== undefined && isAmong(state, [behind], workload);
}

function isWaypointOf(state: ProxyState, workload: Workload, service: Service): boolean | Ask {
  return isAmong(state, waypointsOf(service), workload);
}

/** Whether the workload is an instance of one of the gateways. */
function isAmong(
  state: ProxyState,
  gateways: readonly GatewayAddress[],
  workload: Workload,
): boolean | Ask {
  for (const gateway of gateways) {
    const key = unansweredGateway(state, gateway);
    if (key !== undefined) return ask(key);
    if (isInstance(state, gateway, workload)) return true;
  }
  return false;
}

type Source = Readonly<{ network: string; ip: IpAddress; identity: SpiffeId | undefined }>;

/** The pod's waypoint, then policy. */
function authorize(
  state: ProxyState,
  workload: Workload,
  source: Source,
  destination: SocketAddress,
  note: Note,
): Admission {
  const bypassed = bypassesWaypoint(state, workload, source);
  note?.('waypoint of the workload', () =>
    typeof bypassed === 'object'
      ? `to be asked for: ${bypassed.key}`
      : (bypassed ?? 'none, or the connection came through it'),
  );
  if (typeof bypassed === 'string') return refuse(401, bypassed);
  const connection: PolicyConnection = {
    sourceIp: source.ip,
    ...(source.identity !== undefined && { sourceIdentity: source.identity }),
    destinationIp: destination.ip,
    destinationPort: destination.port,
  };
  const decision = state.authorize(workload, connection);
  note?.(`policy for ${formatSocketAddress(destination)}`, () =>
    decision.kind === 'wait' ? `not here yet: ${decision.policies.join(', ')}` : decision.reason,
  );
  // What policy denies is denied already, whatever the control plane answers.
  if (decision.kind === 'deny') return { ...refuse(401, decision.reason), decision, destination };
  if (bypassed !== undefined) return bypassed;
  if (decision.kind === 'wait') return decision;
  return { kind: 'admit', connectTo: destination, destination, decision };
}

/**
 * Why a connection must not come to a pod with a waypoint of its own. The waypoint of a service that it serves may stand
 * in for it: what is addressed to that service goes there, by every proxy.
 */
function bypassesWaypoint(
  state: ProxyState,
  workload: Workload,
  source: Source,
): string | Ask | undefined {
  const { waypoint, waypointProblem } = workload;
  if (waypoint === undefined && waypointProblem === undefined) return undefined;
  const own = waypoint !== undefined && comesFromOneOf(state, [waypoint], source);
  if (own !== false) return own === true ? undefined : own;
  // Plain text comes from no waypoint: nobody needs to be asked.
  for (const key of source.identity === undefined ? [] : workload.services.keys()) {
    const unanswered = unansweredService(state, key);
    if (unanswered !== undefined) return ask(unanswered);
    const service = state.service(key);
    const standIn = service !== undefined && comesFromOneOf(state, waypointsOf(service), source);
    if (standIn !== false) return standIn === true ? undefined : standIn;
  }
  return waypointProblem === undefined
    ? `the connection did not come from the waypoint ${waypoint ? describeGateway(waypoint) : ''}`
    : `the waypoint of ${workload.uid} cannot be used: ${waypointProblem}`;
}

function comesFromOneOf(
  state: ProxyState,
  gateways: readonly GatewayAddress[],
  source: Source,
): boolean | Ask {
  if (source.identity === undefined) return false;
  for (const gateway of gateways) {
    const key =
      unansweredGateway(state, gateway) ?? unansweredAddress(state, source.network, source.ip);
    if (key !== undefined) return ask(key);
    if (comesFromGateway(state, gateway, source)) return true;
  }
  return false;
}

function ask(key: DemandKey): Ask {
  return { kind: 'ask', key };
}

function noteInto(steps: ExplainStep[] | undefined): Note {
  return steps && ((step, found) => void steps.push({ step, found: found() }));
}

function refuse(status: RefusalStatus, reason: string): Refusal {
  return { kind: 'refuse', status, reason };
}
