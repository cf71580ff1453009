import type { Service } from '../../mesh/kubernetes/core.ts';
import type { ServiceEntry } from '../../mesh/kubernetes/networking.ts';
import type { VirtualService } from '../../mesh/kubernetes/virtual-service.ts';
import type { Picture } from '../snapshot.ts';
import { mostExactHost, resolveHost } from './hosts.ts';
import { serviceHostname } from './names.ts';
import { findEntry } from './routes/backends.ts';
import type { RouteParent } from './routes/parents.ts';
import { objectWaypoint, serviceOfHost } from './services.ts';
import type { MeshSettings } from './settings.ts';

/** The waypoints that VirtualServices make send to a service: they must know how to use its endpoints. */
export function virtualServiceWaypoints(
  picture: Picture,
  settings: MeshSettings,
  { kind, ref }: Service | ServiceEntry,
  hostname: string,
): string[] {
  const named = new Set([
    ...picture.virtualServicesTo(hostname, ''),
    ...(kind === 'Service' ? picture.virtualServicesTo(ref.name, ref.namespace) : []),
  ]);
  const waypoints = new Set<string>();
  for (const virtual of named)
    for (const root of rootsOf(picture, virtual))
      for (const parent of parentsOf(picture, settings, root))
        for (const gateway of objectWaypoint(picture, settings, parent).gateways)
          waypoints.add(gateway);
  return [...waypoints];
}

/** Itself, or those that delegate to it. */
function rootsOf(picture: Picture, virtual: VirtualService): VirtualService[] {
  if (virtual.spec.hosts.length > 0) return [virtual];
  const { namespace, name } = virtual.ref;
  return [...picture.all('VirtualService')].filter(({ spec, ref }) =>
    spec.http.some(
      ({ delegate }) =>
        delegate?.name === name && (delegate.namespace || ref.namespace) === namespace,
    ),
  );
}

/** The objects whose services its hosts name. */
function parentsOf(
  picture: Picture,
  settings: MeshSettings,
  { spec, ref }: VirtualService,
): RouteParent[] {
  return spec.hosts.flatMap((written): RouteParent[] => {
    const host = resolveHost(written, ref.namespace, settings);
    if (!host.startsWith('*')) {
      const parent =
        serviceOfHost(picture, settings, host) ?? findEntry(picture, host, ref.namespace);
      return parent === undefined ? [] : [parent];
    }
    const services = [...picture.all('Service')].filter(({ ref: { namespace, name } }) =>
      mostExactHost([host], serviceHostname(namespace, name, settings)),
    );
    const entries = [...picture.all('ServiceEntry')].filter((entry) =>
      entry.spec.hosts.some((one) => mostExactHost([host], one)),
    );
    return [...services, ...entries];
  });
}
