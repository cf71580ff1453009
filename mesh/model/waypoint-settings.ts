import type { PathNormalization } from './path-normalization.ts';

/** How one waypoint reads requests, and what it tells of those who send them. */
export type WaypointSettings = Readonly<{
  paths: PathNormalization;
  /** Proxies before the waypoint that are believed about a client's address, whoever dials the waypoint included. */
  trustedProxies: number;
  /** Whether names of fields may hold `_`, which some back ends take for `-` (attack M3). */
  allowUnderscores: boolean;
  /** Whether back ends are told the client's identity, in `x-forwarded-client-cert`. */
  tellClientIdentity: boolean;
}>;

/** What holds where nothing is set. */
export const STRICT_SETTINGS: WaypointSettings = {
  ...{ paths: 'STRICT', trustedProxies: 0 },
  ...{ allowUnderscores: false, tellClientIdentity: false },
};
