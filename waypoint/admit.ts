import { formatSocketAddress } from '../base/address.ts';
import { describeError } from '../base/errors.ts';
import { parseAuthority, type Authority } from '../mesh/hbone/authority.ts';
import type { GatewayAddress } from '../mesh/model/gateway-address.ts';
import type { Service } from '../mesh/model/service.ts';
import type { Workload } from '../mesh/model/workload.ts';
import type { RefusalStatus } from '../mesh/proxy/refused-error.ts';
import { isInstance, waypointsOf } from '../mesh/proxy/state/gateway.ts';
import type { ProxyState } from '../mesh/proxy/state/store.ts';
import { keyOfService } from '../mesh/proxy/state/vips.ts';

export type ServiceTarget = Readonly<{
  kind: 'service';
  service: Service;
  port: number;
  authority: Authority;
  /** The service's own waypoint, where a gateway must not go past it. */
  waypoint?: GatewayAddress;
}>;

/** What a tunnel is for: a service, or one workload at its own address. */
export type Target =
  | ServiceTarget
  | Readonly<{ kind: 'workload'; workload: Workload; port: number; authority: Authority }>;

export type Admission = Readonly<
  | { kind: 'admit'; target: Target }
  | {
      kind: 'refuse';
      status: RefusalStatus;
      reason: string;
      /** What the control plane has not told yet may change it. */
      mayChange: boolean;
    }
>;

export type AdmissionRequest = Readonly<{
  method: string;
  /** As it came. */
  authority: string;
  /** This waypoint; absent while the control plane has not told of it. */
  self: Workload | undefined;
  network: string;
}>;

/**
 * Decides on a CONNECT request: what it asks for must be a service or a workload whose waypoint this one is. Anything
 * else would make it a way around the waypoints, and the policies, of others.
 */
export function admit(state: ProxyState, request: AdmissionRequest): Admission {
  const { method, self } = request;
  if (method !== 'CONNECT')
    return refuse(`only CONNECT is served, found ${JSON.stringify(method.slice(0, 32))}`);
  let authority: Authority;
  try {
    authority = parseAuthority(request.authority);
  } catch (error) {
    return refuse(describeError(error));
  }
  if (self === undefined) return { ...notYet('this waypoint is not known'), status: 503 };
  return authority.kind === 'hostname'
    ? admitName(state, self, authority)
    : admitAddress(state, self, request.network, authority);
}

function admitName(
  state: ProxyState,
  self: Workload,
  authority: Extract<Authority, { kind: 'hostname' }>,
): Admission {
  const { hostname, port } = authority;
  // Several namespaces may have a service of one name; only those that use this waypoint are meant.
  const services = state.servicesByHost(hostname);
  const mine = services.filter((service) => usesWaypoint(state, waypointsOf(service), self));
  const service = mine.find(({ namespace }) => namespace === self.namespace) ?? mine[0];
  if (service !== undefined)
    return { kind: 'admit', target: { kind: 'service', service, port, authority } };
  return notYet(
    services.length === 0
      ? `no service has the name ${hostname}`
      : `${hostname} does not use this waypoint`,
  );
}

function admitAddress(
  state: ProxyState,
  self: Workload,
  network: string,
  authority: Extract<Authority, { kind: 'address' }>,
): Admission {
  const { ip, port } = authority.address;
  const service = state.serviceAt(network, ip, self.namespace);
  const workload = state.workloadAt(network, ip);
  if (service !== undefined && usesWaypoint(state, waypointsOf(service), self))
    return { kind: 'admit', target: { kind: 'service', service, port, authority } };
  if (workload?.waypoint !== undefined && usesWaypoint(state, [workload.waypoint], self))
    return { kind: 'admit', target: { kind: 'workload', workload, port, authority } };
  const known = service === undefined ? workload?.uid : keyOfService(service);
  return notYet(
    known === undefined
      ? `${formatSocketAddress(authority.address)} is no address of a service or workload`
      : `${known} does not use this waypoint`,
  );
}

function usesWaypoint(
  state: ProxyState,
  waypoints: readonly GatewayAddress[],
  self: Workload,
): boolean {
  return waypoints.some((waypoint) => isInstance(state, waypoint, self));
}

type Refusal = Extract<Admission, { kind: 'refuse' }>;

function refuse(reason: string): Refusal {
  return { kind: 'refuse', status: 400, reason, mayChange: false };
}

function notYet(reason: string): Refusal {
  return { ...refuse(reason), mayChange: true };
}
