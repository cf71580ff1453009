import type { Service } from '../../mesh/kubernetes/core.ts';
import type { Gateway } from '../../mesh/kubernetes/gateway.ts';
import type { ServiceEntry } from '../../mesh/kubernetes/networking.ts';
import type { ParentRef } from '../../mesh/kubernetes/route-references.ts';
import { isGatewayRef, type Picture } from '../snapshot.ts';
import { isIngress } from './gateway/ingress-class.ts';
import { keyOfGateway } from './gateway/listeners.ts';
import { findParent } from './routes/parents.ts';
import { objectWaypoint } from './services.ts';
import type { MeshSettings } from './settings.ts';

/** Who routes make send to a service: a gateway at the edge, or the waypoint of what they attach to, `<namespace>/<name>` of its Gateway. */
export type Sender = Readonly<{ gateway: Gateway } | { waypoint: string }>;

/** The waypoints and gateways that routes make send to a service, whether it uses them or not. */
export function sendersTo(
  picture: Picture,
  settings: MeshSettings,
  { kind, ref }: Service | ServiceEntry,
  hostname: string,
): Sender[] {
  const routes = [
    ...(kind === 'Service' ? picture.routesTo(kind, ref.namespace, ref.name) : []),
    ...picture.routesTo('Hostname', '', hostname),
  ];
  return routes.flatMap((route) =>
    route.spec.parentRefs.flatMap((parentRef): Sender[] => {
      const gateway = findIngress(picture, parentRef, route.ref.namespace);
      if (gateway !== undefined) return [{ gateway }];
      const parent = findParent(picture, parentRef, route.ref.namespace);
      if (parent === undefined) return [];
      const { gateways } = objectWaypoint(picture, settings, parent);
      return [...gateways].map((waypoint) => ({ waypoint }));
    }),
  );
}

/** The same by the keys that proxies are told by: they must know how to use its endpoints. */
export function routedBy(...asked: Parameters<typeof sendersTo>): string[] {
  return sendersTo(...asked).map((sender) =>
    'gateway' in sender ? keyOfGateway(sender.gateway) : sender.waypoint,
  );
}

/** The gateway at the edge that a route attaches to. */
function findIngress(picture: Picture, ref: ParentRef, namespace: string): Gateway | undefined {
  if (!isGatewayRef(ref)) return undefined;
  const gateway = picture.get('Gateway', ref.namespace ?? namespace, ref.name);
  return gateway !== undefined && isIngress(picture, gateway) ? gateway : undefined;
}
