import { availableParallelism } from 'node:os';
import { keepAliveSettings } from '../mesh/proxy/keep-alive.ts';
import { controlPlaneSettings, hboneSettings, identitySettings } from '../mesh/proxy/settings.ts';
import * as env from '../mesh/runtime/env.ts';
import { logSettings } from '../mesh/runtime/log.ts';

/** As the waypoints of Istio have them, whatever the proxy in them is. */
const ADMIN_PORT = 15000;
const STATS_PORT = 15020;
const READINESS_PORT = 15021;
/** A pod is given 30 s to end unless it says otherwise; what is open has most of it. */
const DEFAULT_TERMINATION_DEADLINE_MS = 25_000;

/** As Istio has it. */
const DEFAULT_SAMPLING_PERCENT = 1;

/** All of a waypoint's environment, in the order in which `--help` lists it. */
export const waypointSettings = {
  ...{ ...identitySettings, ...controlPlaneSettings, ...hboneSettings },
  role: env.choiceSetting('PROXY_ROLE', ['waypoint', 'gateway'], {
    description: 'Serve tunnels for what uses this waypoint, or the ports of a Gateway to anybody',
    default: 'waypoint',
  }),
  nodeName: env.stringSetting('NODE_NAME', {
    ...{ description: 'The node that this program is on', default: '' },
  }),
  ipv6: env.booleanSetting('IPV6_ENABLED', {
    ...{ description: 'Serve IPv6 too, where the machine has it', default: true },
  }),
  ...keepAliveSettings,
  ...logSettings,
  dataThreads: env.integerSetting('DATA_THREADS', {
    ...{ description: 'Data threads; 0 for one a CPU', default: 1, min: 0, max: 256 },
  }),
  terminationDeadlineMs: env.durationSetting('CONNECTION_TERMINATION_DEADLINE', {
    description: 'How long connections may go on after SIGTERM',
    default: DEFAULT_TERMINATION_DEADLINE_MS,
  }),
  otlpEndpoint: env.parsedSetting('OTEL_EXPORTER_OTLP_ENDPOINT', {
    ...{ description: 'Where spans go, by OTLP over HTTP; empty for nowhere', default: undefined },
    ...{ accepts: 'http or https URL', parse: parseEndpoint },
  }),
  traceSamplingPercent: env.parsedSetting('PILOT_TRACE_SAMPLING', {
    description: 'How many of the traces that begin here are sampled, where spans go anywhere',
    ...{ default: DEFAULT_SAMPLING_PERCENT, defaultText: String(DEFAULT_SAMPLING_PERCENT) },
    ...{ accepts: 'percent from 0 to 100', parse: parsePercent },
  }),
  redisUrl: env.stringSetting('REDIS_URL', {
    description: 'Redis in which all replicas count global rate limits, redis:// or rediss://',
    default: undefined,
  }),
  adminPath: env.stringSetting('ADMIN_UDS', {
    ...{ description: 'Unix socket that serves the admin pages too', default: undefined },
  }),
};

/** What a waypoint runs with: its environment, read once. Times in milliseconds. */
export type WaypointConfig = env.SettingValues<typeof waypointSettings> &
  Readonly<{ adminPort: number; statsPort: number; readinessPort: number }>;

/** @throws {MeshError} ERR_ENV with every mistake. */
export function readWaypointConfig(
  vars: env.Env,
  cpus: () => number = availableParallelism,
): WaypointConfig {
  const values = env.readEnv(waypointSettings, vars);
  return {
    ...values,
    dataThreads: values.dataThreads === 0 ? cpus() : values.dataThreads,
    ...{ adminPort: ADMIN_PORT, statsPort: STATS_PORT, readinessPort: READINESS_PORT },
  };
}

/** The settings for `--help`. */
export function waypointSettingsHelp(): string {
  return env.describeSettings(waypointSettings);
}

function parseEndpoint(text: string): string | undefined {
  const { protocol, href } = new URL(text);
  return protocol === 'http:' || protocol === 'https:' ? href.replace(/\/+$/, '') : undefined;
}

function parsePercent(text: string): number | undefined {
  const value = /^\d{1,3}(?:\.\d{1,6})?$/.test(text) ? Number(text) : NaN;
  return value <= 100 ? value : undefined;
}
