import type { IpAddress } from '../../../base/address.ts';
import type { GatewayAddress } from '../../model/gateway-address.ts';
import type { SpiffeId } from '../../model/identity.ts';
import { serviceKey, type Service } from '../../model/service.ts';
import { chooseWeighted } from '../../model/weighted-choice.ts';
import { workloadIdentity, type Workload } from '../../model/workload.ts';
import type { ProxyState } from './store.ts';
import { keyOfService } from './vips.ts';

/** What a gateway address stands for: a service of several instances, or one workload. */
export type Gateway = Readonly<
  { kind: 'service'; service: Service } | { kind: 'workload'; workload: Workload }
>;

/** Finds a waypoint or network gateway, by name or by address. */
export function findGateway(
  state: ProxyState,
  { destination }: GatewayAddress,
  clientNamespace: string,
): Gateway | undefined {
  if (destination.kind === 'hostname') {
    const { namespace, hostname } = destination;
    const service = state.service(serviceKey(namespace, hostname));
    if (service !== undefined) return { kind: 'service', service };
    const workload = state.workloadByHostname(namespace, hostname);
    return workload && { kind: 'workload', workload };
  }
  const { network, ip } = destination;
  const service = state.serviceAt(network, ip, clientNamespace);
  if (service !== undefined) return { kind: 'service', service };
  const workload = state.workloadAt(network, ip);
  return workload && { kind: 'workload', workload };
}

/** Whether a workload is the gateway, or one of its instances. */
export function isInstance(
  state: ProxyState,
  address: GatewayAddress,
  workload: Workload,
): boolean {
  const gateway = findGateway(state, address, workload.namespace);
  if (gateway === undefined) return false;
  return gateway.kind === 'workload'
    ? gateway.workload.uid === workload.uid
    : state.endpoints(keyOfService(gateway.service)).has(workload.uid);
}

/**
 * Whether a connection comes from an instance of a gateway: its address is the instance's, and its identity too, because
 * an address alone can be taken over.
 */
export function comesFromGateway(
  state: ProxyState,
  gateway: GatewayAddress,
  source: Readonly<{ network: string; ip: IpAddress; identity: SpiffeId | undefined }>,
): boolean {
  if (source.identity === undefined) return false;
  const workload = state.workloadAt(source.network, source.ip);
  return (
    workload !== undefined &&
    workloadIdentity(workload) === source.identity &&
    isInstance(state, gateway, workload)
  );
}

/** The waypoints that connections to a service may come through. */
export function waypointsOf(service: Service): readonly GatewayAddress[] {
  const weighted = service.weightedWaypoints
    .filter(({ weight }) => weight > 0)
    .map(({ destination }) => destination);
  return service.waypoint === undefined ? weighted : [service.waypoint, ...weighted];
}

/**
 * The waypoint for a connection to a service, with the canary's share; `undefined` where it has none.
 *
 * @param random from 0 to below 1.
 */
export function chooseWaypoint(service: Service, random: () => number): GatewayAddress | undefined {
  const { waypoint, weightedWaypoints } = service;
  const total = weightedWaypoints.reduce((sum, { weight }) => sum + weight, 0);
  if (total === 0) return waypoint;
  return chooseWeighted(weightedWaypoints, ({ weight }) => weight, random())?.destination;
}

/** In words, for explanations and reasons. */
export function describeGateway({ destination }: GatewayAddress): string {
  return destination.kind === 'hostname'
    ? `${destination.namespace}/${destination.hostname}`
    : destination.ip;
}
