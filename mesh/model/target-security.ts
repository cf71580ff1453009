import type { Brand } from '../../base/brand.ts';
import type { HttpPolicy } from './http-policy.ts';
import type { RequestAuthentication } from './request-authentication.ts';
import type { ServiceKey } from './service.ts';
import type { WaypointSettings } from './waypoint-settings.ts';

/** What policies of a waypoint are attached to: `Service/<service key>` or `Gateway/<namespace>/<name>`. */
export type SecurityTarget = Brand<string, 'SecurityTarget'>;

/** All that is attached to one target, by itself or as one of its class. */
export type TargetSecurity = Readonly<{
  target: SecurityTarget;
  policies: readonly HttpPolicy[];
  authentications: readonly RequestAuthentication[];
  /** Of a Gateway; STRICT_SETTINGS where there are none. */
  settings?: WaypointSettings;
}>;

export function serviceTarget(service: ServiceKey): SecurityTarget {
  return `Service/${service}` as SecurityTarget;
}

export function gatewayTarget(namespace: string, name: string): SecurityTarget {
  return `Gateway/${namespace}/${name}` as SecurityTarget;
}
