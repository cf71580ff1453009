import type { Service } from '../../mesh/kubernetes/core.ts';
import type { Gateway } from '../../mesh/kubernetes/gateway.ts';
import type { ServiceEntry } from '../../mesh/kubernetes/networking.ts';
import type { ParentRef } from '../../mesh/kubernetes/route-references.ts';
import { isGatewayRef, type Picture } from '../snapshot.ts';
import { isIngress } from './gateway/ingress-class.ts';
import { keyOfGateway } from './gateway/listeners.ts';
import { serviceHostname } from './names.ts';
import { findParent } from './routes/parents.ts';
import { objectWaypoint } from './services.ts';
import type { MeshSettings } from './settings.ts';
import { virtualServiceWaypoints } from './virtual-users.ts';

/**
 * The waypoints that send to a service: its own, those of services whose routes lead to it, and those of services that fall back
 * to it. They must know how to use its endpoints.
 *
 * @returns `<namespace>/<gateway>` of each.
 */
export function waypointUsers(
  picture: Picture,
  settings: MeshSettings,
  object: Service | ServiceEntry,
  hostname: string,
): Set<string> {
  const users = directUsers(picture, settings, object, hostname);
  if (object.kind !== 'Service') return users;
  const { namespace, name } = object.ref;
  for (const { ref, spec } of picture.policiesFallingBackTo(namespace, name))
    for (const target of spec.targetRefs) {
      if (target.kind !== 'Service' && target.kind !== 'ServiceEntry') continue;
      const falling = picture.get(target.kind, ref.namespace, target.name);
      if (falling === undefined || falling.key === object.key) continue;
      for (const host of hostsOf(falling, settings))
        for (const user of directUsers(picture, settings, falling, host)) users.add(user);
    }
  return users;
}

/** The host names of a service or of all services of an entry. */
export function hostsOf(
  { kind, ref, spec }: Service | ServiceEntry,
  settings: MeshSettings,
): readonly string[] {
  return kind === 'Service' ? [serviceHostname(ref.namespace, ref.name, settings)] : spec.hosts;
}

/** Without fallbacks, which do not fall back again. */
function directUsers(
  picture: Picture,
  settings: MeshSettings,
  object: Service | ServiceEntry,
  hostname: string,
): Set<string> {
  return new Set([
    ...objectWaypoint(picture, settings, object).gateways,
    ...routedBy(picture, settings, object, hostname),
    ...virtualServiceWaypoints(picture, settings, object, hostname),
  ]);
}

/** The waypoints and gateways that routes make send to a service, whether it uses them or not. */
function routedBy(
  picture: Picture,
  settings: MeshSettings,
  { kind, ref }: Service | ServiceEntry,
  hostname: string,
): string[] {
  const routes = [
    ...(kind === 'Service' ? picture.routesTo(kind, ref.namespace, ref.name) : []),
    ...picture.routesTo('Hostname', '', hostname),
  ];
  return routes.flatMap((route) =>
    route.spec.parentRefs.flatMap((parentRef): string[] => {
      const gateway = findIngress(picture, parentRef, route.ref.namespace);
      if (gateway !== undefined) return [keyOfGateway(gateway)];
      const parent = findParent(picture, parentRef, route.ref.namespace);
      return parent === undefined ? [] : [...objectWaypoint(picture, settings, parent).gateways];
    }),
  );
}

function findIngress(picture: Picture, ref: ParentRef, namespace: string): Gateway | undefined {
  if (!isGatewayRef(ref)) return undefined;
  const gateway = picture.get('Gateway', ref.namespace ?? namespace, ref.name);
  return gateway !== undefined && isIngress(picture, gateway) ? gateway : undefined;
}
