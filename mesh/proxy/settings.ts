import { checkPort } from '../../base/address.ts';
import { parseTrustDomain, type TrustDomain } from '../model/identity.ts';
import * as env from '../runtime/env.ts';

/** A control plane's host and port; TLS is always spoken. */
export type ServerAddress = Readonly<{ host: string; port: number }>;

const ISTIOD: ServerAddress = { host: 'istiod.istio-system.svc', port: 15012 };
const MAX_WINDOW_BYTES = 2 ** 31 - 1; // RFC 9113 section 6.9.1
const DAY_MS = 86_400_000;

/** Who a proxy is, and in which mesh. */
export const identitySettings = {
  podName: text('POD_NAME', "This program's own pod", ''),
  podNamespace: text('POD_NAMESPACE', "This program's own namespace", ''),
  serviceAccount: text('SERVICE_ACCOUNT', "This program's own service account", ''),
  instanceIp: text('INSTANCE_IP', "This program's own address, told to the control plane", ''),
  network: text('NETWORK', 'The network that this node is in', ''),
  clusterId: text('CLUSTER_ID', 'The cluster (also ISTIO_META_CLUSTER_ID)', 'Kubernetes'),
  clusterDomain: text('CLUSTER_DOMAIN', 'Suffix of service names', 'cluster.local'),
  trustDomain: env.parsedSetting<TrustDomain, TrustDomain>('TRUST_DOMAIN', {
    description: 'Own trust domain',
    ...{ default: parseTrustDomain('cluster.local'), defaultText: 'cluster.local' },
    ...{ accepts: 'trust domain', parse: parseTrustDomain },
  }),
  trustDomainAliases: env.parsedSetting<readonly TrustDomain[], readonly TrustDomain[]>(
    'TRUST_DOMAIN_ALIASES',
    {
      description: 'Trust domains that are one with our own',
      ...{ default: [], accepts: 'trust domains separated by ","' },
      parse: (list) => splitList(list).map(parseTrustDomain),
    },
  ),
  buildVersion: text('ISTIO_META_ISTIO_VERSION', 'Version told by istio_build', 'unknown'),
  nodeMetadata: env.familySetting('ISTIO_META_', { description: 'Node metadata, as text' }),
  nodeMetadataJson: env.familySetting('ISTIO_METAJSON_', { description: 'Node metadata, as JSON' }),
};

/** Where its configuration and its certificates come from. */
export const controlPlaneSettings = {
  xdsAddress: serverAddress('XDS_ADDRESS', 'Control plane; empty for none'),
  caAddress: serverAddress('CA_ADDRESS', 'Certificate authority'),
  xdsRootCa: text(
    'XDS_ROOT_CA',
    rootsHelp('control plane'),
    './var/run/secrets/istio/root-cert.pem',
  ),
  caRootCa: text('CA_ROOT_CA', rootsHelp('CA'), './var/run/secrets/istio/root-cert.pem'),
  xdsServerName: text('ALT_XDS_HOSTNAME', "Expected of the control plane's certificate"),
  caServerName: text('ALT_CA_HOSTNAME', "Expected of the CA's certificate"),
  xdsHeaders: env.familySetting('XDS_HEADER_', { description: 'Header for the control plane' }),
  caHeaders: env.familySetting('CA_HEADER_', { description: 'Header for the CA' }),
  authToken: env.secretSetting('AUTH_TOKEN', {
    description: 'Service account token, or the path of a file with it',
    default: './var/run/secrets/tokens/istio-token',
  }),
  certificateTtlMs: duration('SECRET_TTL', 'Lifetime asked for a certificate', DAY_MS, 1000),
};

/** How it speaks HBONE. */
export const hboneSettings = {
  streamWindowBytes: integer(
    ...(['HTTP2_STREAM_WINDOW_SIZE', 'Largest window of a stream'] as const),
    ...([4_194_304, 65_535, MAX_WINDOW_BYTES] as const),
  ),
  connectionWindowBytes: integer(
    ...(['HTTP2_CONNECTION_WINDOW_SIZE', 'Window of a session'] as const),
    ...([16_777_216, 65_535, MAX_WINDOW_BYTES] as const),
  ),
  frameBytes: integer('HTTP2_FRAME_SIZE', 'Largest frame', 1_048_576, 16_384, 16_777_215),
  poolMaxStreams: integer(
    ...(['POOL_MAX_STREAMS_PER_CONNECTION', 'Streams in one pooled session'] as const),
    ...([100, 1, 65_535] as const),
  ),
  poolIdleMs: duration('POOL_UNUSED_RELEASE_TIMEOUT', 'Idle sessions are closed', 300_000, 1000),
  compliancePolicy: env.choiceSetting('COMPLIANCE_POLICY', ['pqc'], {
    description: 'pqc: a post-quantum key exchange is required, not only preferred',
    default: undefined,
  }),
  keyLogFile: text('KEY_LOG_FILE', 'DANGEROUS: TLS secrets are appended to this file'),
  crlPath: text('CRL_PATH', 'File of revocation lists (PEM or DER), watched'),
};

/**
 * Parses `https://host:port` or `host:port`.
 *
 * @throws {Error} for plain HTTP, a path, userinfo, or a missing port.
 */
export function parseServerAddress(text: string): ServerAddress {
  const url = new URL(text.includes('://') ? text : `https://${text}`);
  const { protocol, hostname, port, username, password, pathname, search, hash } = url;
  const extra = username + password + search + hash;
  // 443 is the default of the scheme, which URL then leaves out.
  const named = port !== '' || /:443\/?$/.test(text);
  if (protocol !== 'https:' || extra !== '' || !['', '/'].includes(pathname) || !named)
    throw new Error('only https with a host and a port is accepted');
  return { host: hostname.replace(/^\[|\]$/g, ''), port: checkPort(Number(port || 443)) };
}

function splitList(list: string): string[] {
  return list
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

function rootsHelp(whose: string): string {
  return `Roots of the ${whose}: a path, PEM, or SYSTEM`;
}

export function text(name: string, description: string): env.Setting<string | undefined>;
export function text(name: string, description: string, fallback: string): env.Setting<string>;
export function text(
  name: string,
  description: string,
  fallback?: string,
): env.Setting<string | undefined> {
  return env.stringSetting(name, { description, default: fallback });
}

export function flag(name: string, description: string, fallback: boolean): env.Setting<boolean> {
  return env.booleanSetting(name, { description, default: fallback });
}

export function integer(
  ...[name, description, fallback, min, max]: readonly [string, string, number, number, number]
): env.Setting<number> {
  return env.integerSetting(name, { description, default: fallback, min, max });
}

export function duration(
  ...[name, description, fallbackMs, minMs]: readonly [string, string, number, number]
): env.Setting<number> {
  return env.durationSetting(name, { description, default: fallbackMs, minMs });
}

function serverAddress(name: string, description: string): env.Setting<ServerAddress | undefined> {
  const setting = env.parsedSetting<ServerAddress | 'none', ServerAddress>(name, {
    ...{ description, default: ISTIOD, defaultText: `https://${ISTIOD.host}:${ISTIOD.port}` },
    ...{ accepts: 'https://host:port', emptyIsValue: true },
    parse: (value) => (value === '' ? 'none' : parseServerAddress(value)),
  });
  return {
    ...setting,
    read(vars) {
      const address = setting.read(vars);
      return address === 'none' ? undefined : address;
    },
  };
}
