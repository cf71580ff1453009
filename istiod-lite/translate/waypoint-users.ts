import type { Service } from '../../mesh/kubernetes/core.ts';
import type { ServiceEntry } from '../../mesh/kubernetes/networking.ts';
import type { Picture } from '../snapshot.ts';
import { serviceHostname } from './names.ts';
import { routedBy } from './routed-by.ts';
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
