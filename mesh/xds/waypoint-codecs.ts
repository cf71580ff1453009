import type { ServiceBackendPolicy } from '../model/backend-policy.ts';
import type { ServiceRoutes } from '../model/http-route.ts';
import type { ServiceRateLimits } from '../model/rate-limit.ts';
import type { ServiceTrafficPolicy } from '../model/traffic-policy.ts';
import { GATEWAY_LISTENERS_TYPE } from './codec-gateway.ts';
import {
  decodeServiceBackendPolicy,
  encodeServiceBackendPolicy,
  SERVICE_BACKEND_POLICY_TYPE,
} from './codec-backend.ts';
import { TARGET_SECURITY_TYPE } from './codec-http-policy.ts';
import {
  decodeServiceRateLimits,
  encodeServiceRateLimits,
  SERVICE_RATE_LIMITS_TYPE,
} from './codec-limits.ts';
import { decodeServiceRoutes, encodeServiceRoutes, SERVICE_ROUTES_TYPE } from './codec-routes.ts';
import {
  decodeServiceTraffic,
  encodeServiceTraffic,
  SERVICE_TRAFFIC_TYPE,
} from './codec-traffic.ts';

/**
 * What a waypoint is told of a service that uses it, beside its Address. Each is a resource of its own type, named by the
 * service's key, which stands in it as `service`.
 */
export type WaypointConfigs = Readonly<{
  traffic: ServiceTrafficPolicy;
  limits: ServiceRateLimits;
  /** Only where a BackendPolicy is. */
  backend: ServiceBackendPolicy;
  routes: ServiceRoutes;
}>;

export type WaypointKind = keyof WaypointConfigs;

export type WaypointCodec<T> = Readonly<{
  typeUrl: string;
  /** Equal values give equal bytes. */
  encode: (value: T) => Uint8Array;
  /** @throws {MeshError} ERR_XDS_RESOURCE or ERR_PROTO for what is not wholly understood. */
  decode: (bytes: Uint8Array) => T;
}>;

/** In the order in which they are sent: what is named comes before what names it. */
export const WAYPOINT_CODECS: { readonly [K in WaypointKind]: WaypointCodec<WaypointConfigs[K]> } =
  {
    traffic: {
      ...{ typeUrl: SERVICE_TRAFFIC_TYPE },
      ...{ encode: encodeServiceTraffic, decode: decodeServiceTraffic },
    },
    limits: {
      ...{ typeUrl: SERVICE_RATE_LIMITS_TYPE },
      ...{ encode: encodeServiceRateLimits, decode: decodeServiceRateLimits },
    },
    backend: {
      ...{ typeUrl: SERVICE_BACKEND_POLICY_TYPE },
      ...{ encode: encodeServiceBackendPolicy, decode: decodeServiceBackendPolicy },
    },
    routes: {
      ...{ typeUrl: SERVICE_ROUTES_TYPE },
      ...{ encode: encodeServiceRoutes, decode: decodeServiceRoutes },
    },
  };

/**
 * Types that waypoints and gateways alone may ask for: policies, which are named by their targets, those of
 * WAYPOINT_CODECS, then what a gateway listens for, which names services.
 */
export const WAYPOINT_TYPES: readonly string[] = [
  TARGET_SECURITY_TYPE,
  ...Object.values(WAYPOINT_CODECS).map(({ typeUrl }) => typeUrl),
  GATEWAY_LISTENERS_TYPE,
];

const KINDS: ReadonlyMap<string, WaypointKind> = new Map([
  [SERVICE_TRAFFIC_TYPE, 'traffic'],
  [SERVICE_RATE_LIMITS_TYPE, 'limits'],
  [SERVICE_BACKEND_POLICY_TYPE, 'backend'],
  [SERVICE_ROUTES_TYPE, 'routes'],
]);

/** The resources of those kinds that are there. */
export function encodeWaypointConfigs(
  configs: Partial<WaypointConfigs>,
): Readonly<{ typeUrl: string; bytes: Uint8Array }>[] {
  return [...KINDS.values()].flatMap((kind) => encodeConfig(kind, configs[kind]));
}

function encodeConfig<K extends WaypointKind>(
  kind: K,
  value: WaypointConfigs[K] | undefined,
): { typeUrl: string; bytes: Uint8Array }[] {
  const { typeUrl, encode } = WAYPOINT_CODECS[kind];
  return value === undefined ? [] : [{ typeUrl, bytes: encode(value) }];
}

/** The kind of a type of resources; `undefined` for one that is not of a waypoint's own. */
export function waypointKind(typeUrl: string): WaypointKind | undefined {
  return KINDS.get(typeUrl);
}
