import type { Service } from '../../mesh/model/service.ts';

/**
 * Why a gateway must not go straight to the pods of a service: it asks for its waypoint to be on the way
 * (`istio.io/ingress-use-waypoint`), and gateways do not go through waypoints. `undefined` when it may.
 */
export function refusalOfBypass(service: Service): string | undefined {
  const { waypoint, waypointProblem, ingressUseWaypoint, hostname } = service;
  if (!ingressUseWaypoint || (waypoint ?? waypointProblem) === undefined) return undefined;
  return `${hostname} asks for its waypoint to be between gateways and its pods, which is not supported`;
}
