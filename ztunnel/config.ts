import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import type * as Yaml from 'yaml';
import { describeError, errorCode, MeshError } from '../base/errors.ts';
import { describeSettings, readEnv, type Env, type SettingValues } from '../mesh/runtime/env.ts';
import { parseServerAddress } from '../mesh/proxy/settings.ts';
import { ztunnelSettings, type DataThreadCount } from './settings.ts';

/** What the node proxy runs with: its environment, read once. Times in milliseconds. */
export type ZtunnelConfig = Readonly<
  Omit<
    SettingValues<typeof ztunnelSettings>,
    'dataThreads' | 'terminationDeadlineMs' | 'terminationGraceSeconds' | 'nodeMetadataJson'
  > & {
    dataThreads: number;
    terminationDeadlineMs: number;
    /** Of every socket in a pod, so that the rules there let it pass; absent where they know it by other means. */
    packetMark: number | undefined;
    /** Parsed; told to the control plane as it is. */
    nodeMetadataJson: ReadonlyMap<string, unknown>;
    adminPort: number;
    statsPort: number;
    readinessPort: number;
  }
>;

export type ConfigSources = Readonly<{
  /** @throws {Error} with code ENOENT where there is no such file. */
  readFile: (path: string) => string;
  cpus: () => number;
}>;

/** As istio/ztunnel looks for it, seen from its working directory. */
const MESH_CONFIG_FILE = './etc/istio/config/mesh';
const MAX_PROXY_CONFIG_BYTES = 64 * 1024;
const DEFAULT_ADMIN_PORT = 15000;
const DEFAULT_STATS_PORT = 15020;
const READINESS_PORT = 15021;
/** 0x539, as istio/ztunnel has it in pods. */
const DEFAULT_PACKET_MARK = 1337;
const DEFAULT_TERMINATION_DEADLINE_MS = 5_000;

/** Other names of a variable; the first that is set counts. */
const ALIASES: readonly (readonly [string, string])[] = [
  ['CLUSTER_ID', 'ISTIO_META_CLUSTER_ID'],
  ['ZTUNNEL_WORKER_THREADS', 'DATA_THREADS'],
  ['LISTENER_UDS', 'HALO_LISTENERS_UDS'],
];

type ProxyConfig = Readonly<{
  discoveryAddress?: string;
  proxyAdminPort?: number;
  statsPort?: number;
  concurrency?: number;
  metadata: Env;
}>;

/**
 * Reads the environment, and the proxy configuration in it or in the mesh file. What the environment says wins.
 *
 * @throws {MeshError} ERR_ENV with every mistake, ERR_PROXY_CONFIG for YAML that is none or has wrong values.
 */
export function readZtunnelConfig(
  env: Env,
  sources: ConfigSources = {
    readFile: (path) => readFileSync(path, 'utf8'),
    cpus: availableParallelism,
  },
): ZtunnelConfig {
  const proxyConfig = readProxyConfig(env, sources);
  const { discoveryAddress } = proxyConfig;
  const vars = applyAliases({
    ...(discoveryAddress !== undefined && { XDS_ADDRESS: discoveryAddress }),
    ...proxyConfig.metadata,
    ...env,
  });
  const { terminationDeadlineMs, terminationGraceSeconds, ...values } = readEnv(
    ztunnelSettings,
    vars,
  );
  const dedicated = values.proxyMode === 'dedicated';
  const packetMark = values.packetMark ?? (dedicated ? undefined : DEFAULT_PACKET_MARK);
  checkOnDemand(values);
  return {
    ...values,
    packetMark,
    // Answers to an address that is not ours find the way back by their mark alone.
    originalSource: values.originalSource ?? (packetMark === undefined ? false : undefined),
    dataThreads: countDataThreads(values.dataThreads, proxyConfig.concurrency, sources.cpus),
    terminationDeadlineMs:
      terminationDeadlineMs ??
      deadlineWithinGrace(terminationGraceSeconds) ??
      DEFAULT_TERMINATION_DEADLINE_MS,
    nodeMetadataJson: parseMetadataJson(values.nodeMetadataJson),
    adminPort: proxyConfig.proxyAdminPort ?? DEFAULT_ADMIN_PORT,
    statsPort: proxyConfig.statsPort ?? DEFAULT_STATS_PORT,
    readinessPort: READINESS_PORT,
  };
}

/** The settings for `--help`. */
export function ztunnelSettingsHelp(): string {
  const proxyConfig =
    '  PROXY_CONFIG  YAML: discoveryAddress, proxyAdminPort, statsPort, concurrency,';
  return `${describeSettings(ztunnelSettings)}${proxyConfig} proxyMetadata\n`;
}

/** DNS answers with every service there is, and on demand nobody has told us of them. The operator is to choose. */
function checkOnDemand({
  xdsOnDemand,
  dnsCapture,
}: Pick<ZtunnelConfig, 'xdsOnDemand' | 'dnsCapture'>): void {
  if (!xdsOnDemand || !dnsCapture) return;
  const reason = 'DNS in pods needs all services; set ISTIO_META_DNS_CAPTURE=false';
  const message = `Cannot read the environment:\n  XDS_ON_DEMAND: ${reason}`;
  throw new MeshError('ERR_ENV', 'local', message);
}

/** Ends before Kubernetes kills: 5 s before where there is time, else 1 s, but not at once. */
function deadlineWithinGrace(graceSeconds: number | undefined): number | undefined {
  if (graceSeconds === undefined) return undefined;
  return 1000 * (graceSeconds > 10 ? graceSeconds - 5 : Math.max(1, graceSeconds - 1));
}

function countDataThreads(
  asked: DataThreadCount,
  concurrency: number | undefined,
  cpus: () => number,
): number {
  switch (asked.kind) {
    case 'count':
      return asked.count === 0 ? cpus() : asked.count;
    case 'percent':
      return Math.max(1, Math.ceil((cpus() * asked.percent) / 100));
    case 'unset':
      // One thread serves a small node; more cost memory each, so they are asked for.
      return concurrency === undefined ? 1 : concurrency === 0 ? cpus() : concurrency;
  }
}

function applyAliases(env: Env): Env {
  const vars: Record<string, string | undefined> = { ...env };
  for (const [name, alias] of ALIASES) vars[name] ||= env[alias];
  return vars;
}

function parseMetadataJson(texts: ReadonlyMap<string, string>): ReadonlyMap<string, unknown> {
  const parsed = new Map<string, unknown>();
  for (const [name, text] of texts) {
    try {
      parsed.set(name, JSON.parse(text));
    } catch {
      const message = `Cannot read the environment:\n  ISTIO_METAJSON_${name}: expected JSON`;
      throw new MeshError('ERR_ENV', 'local', message);
    }
  }
  return parsed;
}

function readProxyConfig(env: Env, sources: ConfigSources): ProxyConfig {
  const inline = env['PROXY_CONFIG'];
  if (inline !== undefined && inline !== '')
    return parseProxyConfig('PROXY_CONFIG', parseYaml('PROXY_CONFIG', inline));
  const file = readIfThere(MESH_CONFIG_FILE, sources);
  if (file === undefined) return { metadata: {} };
  const mesh = asObject(MESH_CONFIG_FILE, parseYaml(MESH_CONFIG_FILE, file));
  return parseProxyConfig(MESH_CONFIG_FILE, mesh.get('defaultConfig'));
}

function readIfThere(path: string, sources: ConfigSources): string | undefined {
  try {
    return sources.readFile(path);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function parseProxyConfig(where: string, value: unknown): ProxyConfig {
  const object = asObject(where, value);
  const port = (name: string): number | undefined =>
    asInteger(where, name, object.get(name), 65535);
  const discoveryAddress = object.get('discoveryAddress');
  const proxyAdminPort = port('proxyAdminPort');
  const statsPort = port('statsPort');
  const concurrency = asInteger(where, 'concurrency', object.get('concurrency'), 256);
  if (discoveryAddress !== undefined) checkDiscoveryAddress(where, discoveryAddress);
  const metadata: [string, string][] = [];
  for (const [name, item] of asObject(where, object.get('proxyMetadata'))) {
    if (typeof item !== 'string') throw proxyConfigError(where, `proxyMetadata.${name}`, 'text');
    metadata.push([name, item]);
  }
  return {
    ...(typeof discoveryAddress === 'string' && { discoveryAddress }),
    ...(proxyAdminPort !== undefined && { proxyAdminPort }),
    ...(statsPort !== undefined && { statsPort }),
    ...(concurrency !== undefined && { concurrency }),
    metadata: Object.fromEntries(metadata),
  };
}

function parseYaml(where: string, text: string): unknown {
  if (text.length > MAX_PROXY_CONFIG_BYTES)
    throw proxyConfigError(where, 'YAML', `at most ${MAX_PROXY_CONFIG_BYTES} characters`);
  // Loaded here, because it costs 3 MB that a proxy without this configuration need not spend.
  const { parse } = createRequire(import.meta.url)('yaml') as typeof Yaml;
  try {
    return parse(text, { maxAliasCount: 0, logLevel: 'error' });
  } catch (cause) {
    const message = `Cannot read ${where}: ${describeError(cause).split('\n')[0] ?? ''}`;
    throw new MeshError('ERR_PROXY_CONFIG', 'local', message);
  }
}

function asObject(where: string, value: unknown): ReadonlyMap<string, unknown> {
  if (value === undefined || value === null) return new Map();
  if (typeof value !== 'object' || Array.isArray(value))
    throw proxyConfigError(where, 'configuration', 'a mapping');
  return new Map(Object.entries(value));
}

function asInteger(where: string, name: string, value: unknown, max: number): number | undefined {
  if (value === undefined) return undefined;
  const min = name === 'concurrency' ? 0 : 1;
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max)
    return value;
  throw proxyConfigError(where, name, `integer from ${min} to ${max}`);
}

function checkDiscoveryAddress(where: string, value: unknown): void {
  try {
    parseServerAddress(String(value));
  } catch {
    throw proxyConfigError(where, 'discoveryAddress', 'host:port');
  }
}

function proxyConfigError(where: string, name: string, expected: string): MeshError {
  const message = `Cannot read ${where}: ${name}: expected ${expected}`;
  return new MeshError('ERR_PROXY_CONFIG', 'local', message);
}
