import {
  DEFAULT_TRAFFIC_POLICY,
  type BalancerPolicy,
  type CircuitBreaker,
  type HashSource,
  type LocalityPolicy,
  type OutlierPolicy,
  type RetryBudget,
  type TrafficPolicy,
  type Warmup,
} from '../../mesh/model/traffic-policy.ts';
import type { TrafficGroups, TrafficPolicySpec } from '../../mesh/kubernetes/traffic-policy.ts';
import { toUpstreamTls, type TlsPlace } from './upstream-tls.ts';

/** What decides of one port: the groups, and what only the whole policy has. */
export type EffectivePolicy = TrafficGroups &
  Pick<TrafficPolicySpec, 'tunnel' | 'proxyProtocol' | 'retryBudget'>;

type Given<K extends keyof TrafficPolicySpec> = NonNullable<TrafficPolicySpec[K]>;
type LoadBalancer = Given<'loadBalancer'>;
type ConsistentHash = NonNullable<LoadBalancer['consistentHash']>;

/** Numbers that a DestinationRule cannot say: statistics are off in Istio, their bounds are Envoy's. */
const STATISTICS_OFF = {
  ...{ successRateStdevFactor: 0, successRateMinimumHosts: 5, successRateRequestVolume: 100 },
  ...{ failurePercentageThreshold: 0, failurePercentageMinimumHosts: 5 },
  failurePercentageRequestVolume: 50,
};
/** What Istio writes for "no bound", beside 0. */
const UNBOUNDED = 0x7fff_ffff;
const RING_SIZE = 1024;
const MAGLEV_TABLE_SIZE = 65_537;

/** Turns what is written for a port into what is done, with all defaults. */
export function toTrafficPolicy(written: EffectivePolicy, place: TlsPlace): TrafficPolicy {
  const { loadBalancer, connectionPool, outlierDetection } = written;
  const { tcp, http } = connectionPool ?? {};
  const { tls, problem = whyRefused(written) } = toUpstreamTls(written.tls, place);
  const outliers = outlierDetection && toOutliers(outlierDetection);
  const idleTimeoutMs = http?.idleTimeout ?? DEFAULT_TRAFFIC_POLICY.idleTimeoutMs;
  return {
    ...optionally('problem', problem),
    balancer: toBalancer(loadBalancer),
    ...optionally('warmup', toWarmup(loadBalancer)),
    ...optionally('locality', toLocality(loadBalancer, outliers !== undefined)),
    ...optionally('outliers', outliers),
    ...optionally('circuitBreaker', toCircuitBreaker(connectionPool)),
    connectTimeoutMs: tcp?.connectTimeout ?? DEFAULT_TRAFFIC_POLICY.connectTimeoutMs,
    idleTimeoutMs: idleTimeoutMs === 0 ? Infinity : idleTimeoutMs,
    ...optionally('http2', http?.h2UpgradePolicy === 'UPGRADE' ? true : undefined),
    useClientProtocol: http?.useClientProtocol ?? false,
    ...optionally('tls', problem === undefined ? tls : undefined),
    ...optionally('retryBudget', toRetryBudget(written.retryBudget)),
  };
}

/** What cannot be done and must not be left out: without it bytes would go another way. */
export function whyRefused({ tunnel, proxyProtocol }: EffectivePolicy): string | undefined {
  if (tunnel !== undefined) return 'tunnel is not supported';
  return proxyProtocol === undefined ? undefined : 'proxyProtocol is not supported';
}

/** Fields that are read and have no effect, as paths inside the policy. */
export function ignoredFields(written: EffectivePolicy): string[] {
  const { loadBalancer, connectionPool, outlierDetection } = written;
  const { tcp, http } = connectionPool ?? {};
  const settings = loadBalancer?.localityLbSetting;
  const failsOver = (settings?.failover.length ?? 0) + (settings?.failoverPriority.length ?? 0) > 0;
  const ignored: readonly (readonly [string, boolean])[] = [
    ['loadBalancer.zoneAwareLbSetting', loadBalancer?.zoneAwareLbSetting !== undefined],
    [
      'loadBalancer.consistentHash.httpCookie.attributes',
      (loadBalancer?.consistentHash?.httpCookie?.attributes.length ?? 0) > 0,
    ],
    [
      'loadBalancer.warmup (needs ROUND_ROBIN or LEAST_REQUEST)',
      loadBalancer !== undefined && hasWarmup(loadBalancer) && !warmsUp(toBalancer(loadBalancer)),
    ],
    [
      'loadBalancer.localityLbSetting (failover needs outlierDetection)',
      failsOver && settings?.enabled !== false && outlierDetection === undefined,
    ],
    ['connectionPool.tcp.tcpKeepalive', tcp?.tcpKeepalive !== undefined],
    ['connectionPool.tcp.maxConnectionDuration', tcp?.maxConnectionDuration !== undefined],
    ['connectionPool.tcp.idleTimeout', tcp?.idleTimeout !== undefined],
    ['connectionPool.http.http2KeepAlive', http?.http2KeepAlive !== undefined],
    [
      'outlierDetection.consecutiveErrors (use consecutive5xxErrors)',
      outlierDetection?.consecutiveErrors !== undefined,
    ],
    [
      'outlierDetection.outlierDetectionHttpErrorCodes',
      outlierDetection?.outlierDetectionHttpErrorCodes !== undefined,
    ],
  ];
  return ignored.filter(([, found]) => found).map(([field]) => field);
}

function optionally<const K extends string, T>(key: K, value: T | undefined): { [key in K]?: T } {
  return (value === undefined ? {} : { [key]: value }) as { [key in K]?: T };
}

function toBalancer(loadBalancer: LoadBalancer | undefined): BalancerPolicy {
  const hash = loadBalancer?.consistentHash;
  const source = hash && toHashSource(hash);
  if (hash !== undefined && source !== undefined) {
    if (hash.maglev !== undefined)
      return { kind: 'maglev', source, tableSize: hash.maglev.tableSize ?? MAGLEV_TABLE_SIZE };
    const minimumRingSize = hash.ringHash?.minimumRingSize ?? hash.minimumRingSize ?? 0;
    return { kind: 'ring-hash', source, minimumRingSize: minimumRingSize || RING_SIZE };
  }
  switch (loadBalancer?.simple) {
    case 'ROUND_ROBIN':
      return { kind: 'round-robin' };
    case 'RANDOM':
      return { kind: 'random' };
    case 'PASSTHROUGH':
      return { kind: 'passthrough' };
    case 'LEAST_REQUEST':
    case 'LEAST_CONN':
    case 'UNSPECIFIED':
    case undefined:
      return { kind: 'least-request' };
  }
}

function toHashSource(hash: ConsistentHash): HashSource | undefined {
  const { httpHeaderName, httpCookie, httpQueryParameterName } = hash;
  if (httpHeaderName !== undefined) return { kind: 'header', name: httpHeaderName.toLowerCase() };
  if (httpCookie !== undefined) {
    const { name, path, ttl } = httpCookie;
    return { kind: 'cookie', name, path, ...optionally('ttlMs', ttl) };
  }
  if (hash.useSourceIp) return { kind: 'source-ip' };
  return httpQueryParameterName === undefined
    ? undefined
    : { kind: 'query', name: httpQueryParameterName };
}

function warmsUp({ kind }: BalancerPolicy): boolean {
  return kind === 'round-robin' || kind === 'least-request';
}

function hasWarmup({ warmup, warmupDurationSecs }: LoadBalancer): boolean {
  return warmup !== undefined || warmupDurationSecs !== undefined;
}

function toWarmup(loadBalancer: LoadBalancer | undefined): Warmup | undefined {
  if (loadBalancer === undefined || !warmsUp(toBalancer(loadBalancer))) return undefined;
  const durationMs = loadBalancer.warmup?.duration ?? loadBalancer.warmupDurationSecs;
  if (durationMs === undefined) return undefined;
  const { minimumPercent = 10, aggression = 1 } = loadBalancer.warmup ?? {};
  return { durationMs, minimumPercent, aggression };
}

/** The mesh prefers the nearest endpoints where outliers are watched for: else nobody would notice that those have failed. */
function toLocality(
  loadBalancer: LoadBalancer | undefined,
  watched: boolean,
): LocalityPolicy | undefined {
  const setting = loadBalancer?.localityLbSetting;
  if (setting?.enabled === false) return undefined;
  const distribute = setting?.distribute ?? [];
  if (distribute.length === 0 && !watched) return undefined;
  return {
    distribute,
    failover: setting?.failover ?? [],
    failoverPriority: setting?.failoverPriority ?? [],
  };
}

function toOutliers(written: Given<'outlierDetection'>): OutlierPolicy {
  return {
    consecutive5xx: written.consecutive5xxErrors ?? 5,
    consecutiveGatewayErrors: written.consecutiveGatewayErrors ?? 0,
    splitExternalLocalOriginErrors: written.splitExternalLocalOriginErrors,
    consecutiveLocalOriginFailures: written.consecutiveLocalOriginFailures ?? 5,
    intervalMs: written.interval ?? 10_000,
    baseEjectionMs: written.baseEjectionTime ?? 30_000,
    maxEjectionMs: 300_000,
    // 0 is not told from "not set" in Istio.
    maxEjectionPercent: written.maxEjectionPercent || 10,
    minHealthPercent: written.minHealthPercent ?? 0,
    ...STATISTICS_OFF,
  };
}

function toCircuitBreaker(pool: Given<'connectionPool'> | undefined): CircuitBreaker | undefined {
  const breaker: CircuitBreaker = {
    maxConnections: bound(pool?.tcp?.maxConnections),
    maxPendingRequests: bound(pool?.http?.http1MaxPendingRequests),
    maxRequests: bound(pool?.http?.http2MaxRequests),
    maxRetries: bound(pool?.http?.maxRetries),
    maxRequestsPerConnection: bound(pool?.http?.maxRequestsPerConnection),
    maxConcurrentStreams: bound(pool?.http?.maxConcurrentStreams),
  };
  return Object.values(breaker).some((each) => each !== Infinity) ? breaker : undefined;
}

function bound(written: number | undefined): number {
  return written === undefined || written === 0 || written >= UNBOUNDED ? Infinity : written;
}

function toRetryBudget(written: TrafficPolicySpec['retryBudget']): RetryBudget | undefined {
  if (written === undefined) return undefined;
  const { percent = 20, minRetryConcurrency = 3, budgetInterval = 0 } = written;
  return { percent, minConcurrency: minRetryConcurrency, intervalMs: budgetInterval };
}
