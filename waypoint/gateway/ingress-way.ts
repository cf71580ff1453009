import type { Authority } from '../../mesh/hbone/authority.ts';
import type { GatewayAddress } from '../../mesh/model/gateway-address.ts';
import type { Service } from '../../mesh/model/service.ts';
import { chooseWaypoint } from '../../mesh/proxy/state/gateway.ts';

/** How a gateway gets to a service. */
export type IngressWay = Readonly<
  | { kind: 'direct' }
  /** Its routes, policies and endpoints are that waypoint's business. */
  | { kind: 'waypoint'; waypoint: GatewayAddress }
  | { kind: 'refused'; reason: string }
>;

const DIRECT: IngressWay = { kind: 'direct' };

/**
 * Straight to its pods, as in Istio, unless the service asks for its waypoint to be between (`istio.io/ingress-use-waypoint`).
 * One that asks is never reached past it.
 *
 * @param random from 0 to below 1, for a canary's share.
 */
export function chooseIngressWay(service: Service, random: () => number): IngressWay {
  if (!service.ingressUseWaypoint) return DIRECT;
  const { waypointProblem, hostname } = service;
  if (waypointProblem !== undefined)
    return {
      kind: 'refused',
      reason: `the waypoint of ${hostname} cannot be used: ${waypointProblem}`,
    };
  const waypoint = chooseWaypoint(service, random);
  return waypoint === undefined ? DIRECT : { kind: 'waypoint', waypoint };
}

/** As a client in the mesh would ask for the service: by its address, or by name where it has none in this network. */
export function authorityOf(
  { addresses, hostname }: Service,
  network: string,
  port: number,
): Authority {
  const address = addresses.find((each) => each.network === network && each.prefix === undefined);
  return address === undefined
    ? { kind: 'hostname', hostname, port }
    : { kind: 'address', address: { ip: address.ip, port } };
}
