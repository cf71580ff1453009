import { serviceKey, type Service as MeshService } from '../../mesh/model/service.ts';
import type { Service } from '../../mesh/kubernetes/core.ts';
import type { ServiceEntry } from '../../mesh/kubernetes/networking.ts';
import type { WaypointConfigs } from '../../mesh/xds/waypoint-codecs.ts';
import type { Picture } from '../snapshot.ts';
import type { MeshSettings } from './settings.ts';

/**
 * Everything that waypoints are told of a service that uses them. Each kind is there also where nothing is configured, so
 * that a waypoint can tell that from what has not arrived yet.
 *
 * @param _object what the service comes from.
 */
export function translateForWaypoints(
  _picture: Picture,
  _settings: MeshSettings,
  service: MeshService,
  _object: Service | ServiceEntry,
): Partial<WaypointConfigs> {
  const key = serviceKey(service.namespace, service.hostname);
  return { routes: { service: key, producer: new Map(), consumer: new Map() } };
}
