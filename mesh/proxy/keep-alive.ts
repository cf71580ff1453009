import type { KeepAlive } from '../../net/socket-options.ts';
import type { SettingValues } from '../runtime/env.ts';
import { duration, flag, integer } from './settings.ts';

/** How connections whose other end is gone without a word are found; HBONE sessions find it by PING. */
export const keepAliveSettings = {
  keepalive: flag('KEEPALIVE_ENABLED', 'TCP keepalive', true),
  keepaliveTimeMs: duration('KEEPALIVE_TIME', 'Idle time before the first probe', 180_000, 1000),
  keepaliveIntervalMs: duration('KEEPALIVE_INTERVAL', 'Time between probes', 180_000, 1000),
  keepaliveRetries: integer('KEEPALIVE_RETRIES', 'Probes until a peer is dead', 9, 1, 127),
  userTimeout: flag('USER_TIMEOUT_ENABLED', 'Set TCP_USER_TIMEOUT from the keepalive', false),
};

/** @returns nothing where it is turned off. */
export function keepAliveOf(from: SettingValues<typeof keepAliveSettings>): KeepAlive | undefined {
  if (!from.keepalive) return undefined;
  const { keepaliveTimeMs, keepaliveIntervalMs, keepaliveRetries: probes } = from;
  const userTimeoutMs = keepaliveTimeMs + probes * keepaliveIntervalMs;
  return {
    idleSeconds: Math.ceil(keepaliveTimeMs / 1000),
    intervalSeconds: Math.ceil(keepaliveIntervalMs / 1000),
    probes,
    ...(from.userTimeout && { userTimeoutMs }),
  };
}
