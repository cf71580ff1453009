import { parseTrustDomain, type TrustDomain } from '../mesh/model/identity.ts';
import {
  booleanSetting,
  choiceSetting,
  describeSettings,
  durationSetting,
  integerSetting,
  listSetting,
  parsedSetting,
  readEnv,
  required,
  stringSetting,
  type Env,
  type SettingValues,
} from '../mesh/runtime/env.ts';
import { DEFAULT_LOG_LEVELS, logLevelsSetting } from '../mesh/runtime/log.ts';
import { QUIET_MS } from './sources/folder.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** A year, which with the leeway for slow clocks is below LONGEST_LIFETIME_MS: no proxy accepts more of its peers. */
const LONGEST_TTL_MS = 365 * DAY_MS;

function path(name: string, description: string): ReturnType<typeof stringSetting<undefined>> {
  return parsedSetting<string, undefined>(name, {
    ...{ description, default: undefined, accepts: 'path' },
    parse: (text) => text,
  });
}

function portSetting(name: string, description: string, port: number) {
  return integerSetting(name, { description, default: port, min: 0, max: 65535 });
}

/** Every environment variable of istiod-lite. A port of 0 takes any that is free. */
export const SETTINGS = {
  configDirs: listSetting('CONFIG_DIRS', {
    description: 'Folders of YAML, watched; where two have one object the first wins',
    ...{ default: [], separator: ':' },
  }),
  configQuietMs: durationSetting('CONFIG_QUIET_TIME', {
    description:
      'How long a file must rest before it is read; 0s where files are only ever replaced whole',
    default: QUIET_MS,
  }),
  caDir: required(path('CA_DIR', 'Where the self-made root is kept')),
  cacertsDir: path('CACERTS_DIR', 'A CA made elsewhere: ca-cert.pem, ca-key.pem, root-cert.pem'),
  tokenJwks: required(path('TOKEN_JWKS', 'Key set that service account tokens are verified with')),
  tokenIssuer: stringSetting('TOKEN_ISSUER', {
    description: 'Issuer of service account tokens',
    default: 'https://halo.sandbox',
  }),
  tokenAudiences: listSetting('TOKEN_AUDIENCES', {
    description: 'Audiences of which a token must have one',
    default: ['istio-ca'],
  }),
  trustDomain: parsedSetting<TrustDomain, TrustDomain>('TRUST_DOMAIN', {
    ...{ description: 'Trust domain of the mesh', accepts: 'trust domain such as cluster.local' },
    ...{ default: parseTrustDomain('cluster.local'), defaultText: 'cluster.local' },
    parse: parseTrustDomain,
  }),
  trustDomainAliases: parsedSetting<readonly TrustDomain[], readonly TrustDomain[]>(
    'TRUST_DOMAIN_ALIASES',
    {
      ...{ description: 'Other names of the trust domain', accepts: 'list separated by ","' },
      ...{ default: [], emptyIsValue: true },
      parse: (text) =>
        text
          .split(',')
          .map((item) => item.trim())
          .filter((item) => item !== '')
          .map(parseTrustDomain),
    },
  ),
  clusterId: stringSetting('CLUSTER_ID', {
    description: 'Name of the cluster',
    default: 'Kubernetes',
  }),
  clusterDomain: stringSetting('CLUSTER_DOMAIN', {
    description: 'Domain of service names',
    default: 'cluster.local',
  }),
  rootNamespace: stringSetting('ROOT_NAMESPACE', {
    description: 'Namespace whose policies hold for the whole mesh',
    default: 'istio-system',
  }),
  network: stringSetting('NETWORK', {
    description: "Network of this cluster, unless the root namespace's label names one",
    default: '',
  }),
  grpcPort: portSetting('GRPC_PORT', 'xDS and certificates, over TLS', 15012),
  httpPort: portSetting('HTTP_PORT', 'Metrics; debug pages for callers on loopback', 15014),
  readyPort: portSetting('READY_PORT', 'Readiness', 8080),
  adminUds: path('ADMIN_UDS', 'Unix socket with the same pages'),
  trustedNodeAccounts: listSetting('CA_TRUSTED_NODE_ACCOUNTS', {
    description: 'Accounts of node proxies, <namespace>/<account>',
    default: ['istio-system/ztunnel'],
  }),
  dedicatedAccounts: listSetting('DEDICATED_PROXY_ACCOUNTS', {
    description: 'Accounts of workloads that run a ztunnel of their own, <namespace>/<account>',
    default: [],
  }),
  defaultTtlMs: durationSetting('DEFAULT_WORKLOAD_CERT_TTL', {
    description: 'Lifetime of a certificate when none is asked for',
    ...{ default: DAY_MS, minMs: 1000, maxMs: LONGEST_TTL_MS },
  }),
  maxTtlMs: durationSetting('MAX_WORKLOAD_CERT_TTL', {
    description: 'Longest lifetime that may be asked for',
    ...{ default: 90 * DAY_MS, minMs: 1000, maxMs: LONGEST_TTL_MS },
  }),
  dryRunPolicies: booleanSetting('AMBIENT_ENABLE_DRY_RUN_AUTHORIZATION_POLICY', {
    description: 'Send dry-run policies to proxies; an old ztunnel would enforce them',
    default: false,
  }),
  jwksAllowedHosts: listSetting('JWKS_ALLOWED_HOSTS', {
    description:
      'Hosts that keys of tokens may be fetched from although their addresses are not public',
    default: [],
  }),
  statusDir: path('STATUS_DIR', 'Where status conditions and what must outlive a restart are kept'),
  generatedDir: path(
    'GENERATED_DIR',
    'Where the objects are asked for that run waypoints; unset: none are run',
  ),
  rootCertFile: path('ROOT_CERT_FILE', 'Where the root certificates are published for clients'),
  logFormat: choiceSetting('LOG_FORMAT', ['text', 'json'], {
    description: 'Form of a log line',
    default: 'text',
  }),
  logLevels: logLevelsSetting('LOG_LEVEL', {
    description: 'Log levels, in all and by scope',
    default: DEFAULT_LOG_LEVELS,
  }),
} as const;

export type ControlPlaneConfig = SettingValues<typeof SETTINGS>;

/** @throws {MeshError} ERR_ENV with a line for each variable that is missing or wrong. */
export function readConfig(env: Env): ControlPlaneConfig {
  return readEnv(SETTINGS, env);
}

/** The settings as `--help` lists them. */
export function settingsHelp(): string {
  return describeSettings(SETTINGS);
}
