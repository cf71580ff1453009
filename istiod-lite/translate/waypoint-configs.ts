import { serviceKey, type ServiceKey } from '../../mesh/model/service.ts';
import {
  DEFAULT_TRAFFIC_POLICY,
  type ServiceTrafficPolicy,
} from '../../mesh/model/traffic-policy.ts';
import type { Service } from '../../mesh/kubernetes/core.ts';
import type { ServiceEntry } from '../../mesh/kubernetes/networking.ts';
import type { Picture } from '../snapshot.ts';
import { translateServiceRoutes } from './routes.ts';
import { objectWaypoint } from './services.ts';
import { findTrafficPolicy } from './traffic-policies.ts';
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
    const { namespace, hostname } = record.service;
    const target = { namespace, hostname, waypointNamespace: namespaceOf(gateways) };
    const traffic = findTrafficPolicy(picture, settings, target) ?? untouched(service);
    const routes = translateServiceRoutes(picture, settings, service, object);
    const configs = { routes, traffic };
    return [{ service, configs, readers: gateways }];
  });
  return { ...translation, waypointConfigs };
}

/** One configuration serves all waypoints of a service; where they are of several namespaces, the first by name decides. */
function namespaceOf(gateways: ReadonlySet<string>): string {
  const [first = ''] = [...gateways].sort();
  return first.slice(0, first.indexOf('/'));
}

/** There also where nothing is configured, so that a waypoint can tell that from what has not arrived yet. */
function untouched(service: ServiceKey): ServiceTrafficPolicy {
  return { service, policy: DEFAULT_TRAFFIC_POLICY, ports: new Map(), subsets: [] };
}
