import { checkPort, isLoopback, parseIpAddress, type IpAddress } from '../base/address.ts';
import { parseTrustDomain, type TrustDomain } from '../mesh/model/identity.ts';
import * as env from '../mesh/runtime/env.ts';
import { logSettings } from '../mesh/runtime/log.ts';
import { modeSettings } from './mode-settings.ts';

/** A control plane's host and port; TLS is always spoken. */
export type ServerAddress = Readonly<{ host: string; port: number }>;

/** Where the DNS proxy listens inside a pod. */
export type DnsProxyAddress = Readonly<{ ips: readonly IpAddress[]; port: number }>;

const ISTIOD: ServerAddress = { host: 'istiod.istio-system.svc', port: 15012 };
const MAX_WINDOW_BYTES = 2 ** 31 - 1; // RFC 9113 section 6.9.1
const DAY_MS = 86_400_000;
const LOCALHOST = ['127.0.0.1', '::1'].map(parseIpAddress);

const general = {
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

const controlPlane = {
  xdsAddress: serverAddress('XDS_ADDRESS', 'Control plane; empty for none'),
  caAddress: serverAddress('CA_ADDRESS', 'Certificate authority'),
  xdsOnDemand: flag(
    'XDS_ON_DEMAND',
    'Ask only for what connections need, instead of all; needs ISTIO_META_DNS_CAPTURE=false',
    false,
  ),
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

const sockets = {
  ipv6: flag('IPV6_ENABLED', 'Serve IPv6 too', true),
  packetMark: env.integerSetting('PACKET_MARK', {
    description: 'SO_MARK of every socket in a pod; unset: 1337, in dedicated mode none',
    ...{ default: undefined, min: 1, max: 2 ** 32 - 1 },
  }),
  originalSource: env.booleanSetting('ENABLE_ORIG_SRC', {
    description:
      "Keep the client's address towards the app; unset: where the kernel lets us and packets are marked",
    default: undefined,
  }),
  keepalive: flag('KEEPALIVE_ENABLED', 'TCP keepalive', true),
  keepaliveTimeMs: duration('KEEPALIVE_TIME', 'Idle time before the first probe', 180_000, 1000),
  keepaliveIntervalMs: duration('KEEPALIVE_INTERVAL', 'Time between probes', 180_000, 1000),
  keepaliveRetries: integer('KEEPALIVE_RETRIES', 'Probes until a peer is dead', 9, 1, 127),
  userTimeout: flag('USER_TIMEOUT_ENABLED', 'Set TCP_USER_TIMEOUT from the keepalive', false),
  zdsPath: text('INPOD_UDS', "The node agent's socket", '/var/run/ztunnel/ztunnel.sock'),
  listenersPath: text('LISTENER_UDS', 'Where the node agent hands over listening sockets'),
  portReuse: flag('INPOD_PORT_REUSE', 'SO_REUSEPORT on listeners in pods', true),
  socks5: flag('UNSTABLE_ENABLE_SOCKS5', 'Serve SOCKS5 in pods, on 127.0.0.1:15080', false),
  localhostAppTunnel: flag('LOCALHOST_APP_TUNNEL', 'Application tunnels end on localhost', true),
};

const hbone = {
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
  responseBaggage: flag(
    'ENABLE_RESPONSE_BAGGAGE',
    'Tell clients who answered them, and read what peers say of themselves, for telemetry',
    true,
  ),
  crlPath: text('CRL_PATH', 'File of revocation lists (PEM or DER), watched'),
  compliancePolicy: env.choiceSetting('COMPLIANCE_POLICY', ['pqc'], {
    description: 'pqc: a post-quantum key exchange is required, not only preferred',
    default: undefined,
  }),
  keyLogFile: text('KEY_LOG_FILE', 'DANGEROUS: TLS secrets are appended to this file'),
};

const dns = {
  dnsCapture: flag('ISTIO_META_DNS_CAPTURE', 'Serve DNS in pods', true),
  dnsProxyAddress: env.parsedSetting<DnsProxyAddress, DnsProxyAddress>(
    'ISTIO_META_DNS_PROXY_ADDR',
    {
      description: 'Where DNS is served in pods',
      ...{ default: { ips: LOCALHOST, port: 15053 }, defaultText: 'localhost:15053' },
      ...{ accepts: 'loopback address and port', parse: parseDnsProxyAddress },
    },
  ),
  preferredServiceNamespace: text(
    'PREFERED_SERVICE_NAMESPACE',
    'Namespace whose services win among those of one name',
  ),
};

const processSettings = {
  ...logSettings,
  dataThreads: env.parsedSetting<DataThreadCount, DataThreadCount>('ZTUNNEL_WORKER_THREADS', {
    description: 'Data threads; 0 for one a CPU (also DATA_THREADS)',
    ...{ default: { kind: 'unset' }, defaultText: '1' },
    ...{ accepts: 'number up to 256, or percentage of CPUs such as 50%', parse: parseThreadCount },
  }),
  terminationDeadlineMs: env.durationSetting('CONNECTION_TERMINATION_DEADLINE', {
    description: 'How long connections may go on after SIGTERM',
    default: undefined,
  }),
  terminationGraceSeconds: env.integerSetting('TERMINATION_GRACE_PERIOD_SECONDS', {
    ...{ description: 'Gives the deadline where that is not set', default: undefined },
    ...{ min: 1, max: 86_400 * 7 },
  }),
  logPolicyInfo: flag('AUTHZ_POLICY_INFO_LOGGING', 'Log policy decisions at info level', false),
  adminPath: text('ADMIN_UDS', 'Unix socket that serves the admin pages too'),
};

const unsupported = {
  proxy: not('ENABLE_PROXY', 'a node proxy without its proxy has no use', ['true', '1']),
  localXdsPath: not('LOCAL_XDS_PATH', 'the state comes from a control plane', []),
  localXds: not('LOCAL_XDS', 'the state comes from a control plane', []),
  fakeCa: not('FAKE_CA', 'certificates come from a CA', ['false', '0']),
  tls12: not('TLS12_ENABLED', 'only TLS 1.3 is spoken', ['false', '0']),
};

/** All of the node proxy's environment, in the order in which `--help` lists it. */
export const ztunnelSettings = {
  ...{ ...modeSettings, ...general, ...controlPlane, ...sockets, ...hbone, ...dns },
  ...{ ...processSettings, ...unsupported },
};

/** `unset` leaves it to the proxy configuration. */
export type DataThreadCount = Readonly<
  { kind: 'unset' } | { kind: 'count'; count: number } | { kind: 'percent'; percent: number }
>;

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

export function splitList(list: string): string[] {
  return list
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

function parseThreadCount(text: string): DataThreadCount | undefined {
  const [, digits, percent] = /^(\d{1,3})(%?)$/.exec(text) ?? [];
  if (digits === undefined) return undefined;
  const value = Number(digits);
  if (percent === '%')
    return value > 0 && value <= 100 ? { kind: 'percent', percent: value } : undefined;
  return value <= 256 ? { kind: 'count', count: value } : undefined;
}

function parseDnsProxyAddress(text: string): DnsProxyAddress {
  const [, host = '', digits = ''] = /^(.+):(\d{1,5})$/.exec(text) ?? [];
  const port = checkPort(Number(digits));
  if (host === 'localhost') return { ips: LOCALHOST, port };
  const ip = parseIpAddress(host.replace(/^\[(.*)\]$/, '$1'));
  // Beyond the pod's loopback, anyone could ask in the pod's name.
  if (!isLoopback(ip)) throw new Error('only a loopback address is accepted');
  return { ips: [ip], port };
}

function rootsHelp(whose: string): string {
  return `Roots of the ${whose}: a path, PEM, or SYSTEM`;
}

function text(name: string, description: string): env.Setting<string | undefined>;
function text(name: string, description: string, fallback: string): env.Setting<string>;
function text(
  name: string,
  description: string,
  fallback?: string,
): env.Setting<string | undefined> {
  return env.stringSetting(name, { description, default: fallback });
}

function flag(name: string, description: string, fallback: boolean): env.Setting<boolean> {
  return env.booleanSetting(name, { description, default: fallback });
}

function integer(
  ...[name, description, fallback, min, max]: readonly [string, string, number, number, number]
): env.Setting<number> {
  return env.integerSetting(name, { description, default: fallback, min, max });
}

function duration(
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

function not(name: string, reason: string, harmless: readonly string[]): env.Setting<undefined> {
  return env.unsupportedSetting(name, { reason, harmless });
}
