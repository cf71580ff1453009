import type { Service } from '../../mesh/kubernetes/core.ts';
import type { ServiceEntry } from '../../mesh/kubernetes/networking.ts';
import type { Picture } from '../snapshot.ts';
import { findParent } from './routes/parents.ts';
import { objectWaypoint } from './services.ts';
import type { MeshSettings } from './settings.ts';

/** The waypoints that routes make send to a service, whether it uses them or not: they must know how to use its endpoints. */
export function routedBy(
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
    route.spec.parentRefs.flatMap((parentRef) => {
      const parent = findParent(picture, parentRef, route.ref.namespace);
      return parent === undefined ? [] : [...objectWaypoint(picture, settings, parent).gateways];
    }),
  );
}
