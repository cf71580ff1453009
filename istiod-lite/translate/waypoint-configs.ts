import { serviceKey, type ServiceKey } from '../../mesh/model/service.ts';
import type { Service } from '../../mesh/kubernetes/core.ts';
import type { ServiceEntry } from '../../mesh/kubernetes/networking.ts';
import type { WaypointConfigs } from '../../mesh/xds/waypoint-codecs.ts';
import type { Picture } from '../snapshot.ts';
import { translateServiceRoutes } from './routes.ts';
import { objectWaypoint } from './services.ts';
import type { MeshSettings, Translation, WaypointConfig } from './settings.ts';

/** Adds what the waypoints of an object's services are told of each of them. */
export function withWaypointConfigs(
  picture: Picture,
  settings: MeshSettings,
  object: Service | ServiceEntry,
  translation: Translation,
): Translation {
  const { gateways } = objectWaypoint(picture, settings, object);
  if (gateways.size === 0) return translation;
  const waypointConfigs = translation.addresses.flatMap((record): WaypointConfig[] => {
    if (record.kind !== 'service') return [];
    const service = serviceKey(record.service.namespace, record.service.hostname);
    const configs = translateForWaypoints(picture, settings, service, object);
    return [{ service, configs, readers: gateways }];
  });
  return { ...translation, waypointConfigs };
}

/** Each kind is there also where nothing is configured, so that a waypoint can tell that from what has not arrived yet. */
function translateForWaypoints(
  picture: Picture,
  settings: MeshSettings,
  service: ServiceKey,
  object: Service | ServiceEntry,
): Partial<WaypointConfigs> {
  return { routes: translateServiceRoutes(picture, settings, service, object) };
}
