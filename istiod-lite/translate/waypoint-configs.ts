import { serviceKey, type ServiceKey } from '../../mesh/model/service.ts';
import {
  DEFAULT_TRAFFIC_POLICY,
  type ServiceTrafficPolicy,
} from '../../mesh/model/traffic-policy.ts';
import type { Service } from '../../mesh/kubernetes/core.ts';
import type { ServiceEntry } from '../../mesh/kubernetes/networking.ts';
import type { Picture } from '../snapshot.ts';
import { serviceBackendPolicy } from './backend-policies.ts';
import { withBackendTls } from './backend-tls.ts';
import { securityOfService } from './http-policies.ts';
import { serviceRateLimits } from './rate-limits.ts';
import { translateServiceRoutes } from './routes.ts';
import { objectWaypoint } from './services.ts';
import { findTrafficPolicy } from './traffic-policies.ts';
import type { MeshSettings, Translation, WaypointConfig, WaypointSecurity } from './settings.ts';
import { namespaceOfFirst } from './waypoint-namespace.ts';
import { waypointUsers } from './waypoint-users.ts';

/** Adds what the waypoints of an object's services are told of each of them. */
export function withWaypointConfigs(
  picture: Picture,
  settings: MeshSettings,
  object: Service | ServiceEntry,
  translation: Translation,
): Translation {
  const { gateways } = objectWaypoint(picture, settings, object);
  const waypointSecurities = translation.addresses.flatMap((record): WaypointSecurity[] => {
    if (record.kind !== 'service' || gateways.size === 0) return [];
    const { namespace, hostname } = record.service;
    const security = securityOfService(picture, settings, namespace, hostname);
    return [{ security, readers: gateways }];
  });
  const waypointConfigs = translation.addresses.flatMap((record): WaypointConfig[] => {
    if (record.kind !== 'service') return [];
    const service = serviceKey(record.service.namespace, record.service.hostname);
    const { namespace, hostname } = record.service;
    const users = waypointUsers(picture, settings, object, hostname);
    if (users.size === 0) return [];
    const waypointNamespace = namespaceOfFirst(users);
    const isShared = [...users].some((user) => !user.startsWith(`${waypointNamespace}/`));
    const target = { namespace, hostname, waypointNamespace, isShared };
    const written = findTrafficPolicy(picture, settings, target) ?? untouched(service);
    const traffic = withBackendTls(picture, object, written);
    const backend = serviceBackendPolicy(picture, settings, service, object);
    const configs = { traffic, ...(backend && { backend }) };
    const used = { service, configs, readers: users };
    if (gateways.size === 0) return [used];
    const own = { namespace, hostname, waypointNamespace: namespaceOfFirst(gateways) };
    const routes = translateServiceRoutes(picture, settings, own, object);
    const limits = serviceRateLimits(picture, settings, service, object, gateways);
    return [used, { service, configs: { routes, limits }, readers: gateways }];
  });
  return { ...translation, waypointConfigs, waypointSecurities };
}

/** There also where nothing is configured, so that a waypoint can tell that from what has not arrived yet. */
function untouched(service: ServiceKey): ServiceTrafficPolicy {
  return { service, policy: DEFAULT_TRAFFIC_POLICY, ports: new Map(), subsets: [] };
}
