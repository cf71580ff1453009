import type { ServiceKey } from './service.ts';

/** What hashing balancers look at; the first that a request has decides. */
export type HashSource = Readonly<
  | { kind: 'header'; name: string }
  | { kind: 'query'; name: string }
  | { kind: 'source-ip' }
  /** With `ttlMs` a client without the cookie gets one; 0: until it closes. */
  | { kind: 'cookie'; name: string; path: string; ttlMs?: number }
>;

export type BalancerPolicy = Readonly<
  | { kind: 'round-robin' | 'least-request' | 'random' | 'passthrough' }
  | { kind: 'ring-hash'; source: HashSource; minimumRingSize: number }
  | { kind: 'maglev'; source: HashSource; tableSize: number }
>;

/** A new endpoint's share grows over `durationMs`. Envoy slow start. */
export type Warmup = Readonly<{ durationMs: number; minimumPercent: number; aggression: number }>;

/** DestinationRule `outlierDetection`, complete; 0 turns a detector off. Times in ms, shares in percent. */
export type OutlierPolicy = Readonly<{
  consecutive5xx: number;
  consecutiveGatewayErrors: number;
  splitExternalLocalOriginErrors: boolean;
  consecutiveLocalOriginFailures: number;
  intervalMs: number;
  baseEjectionMs: number;
  maxEjectionMs: number;
  maxEjectionPercent: number;
  minHealthPercent: number;
  /** Standard deviations times 1000 below the mean; 0 turns it off. */
  successRateStdevFactor: number;
  successRateMinimumHosts: number;
  successRateRequestVolume: number;
  /** Percent of failures from which a host is ejected; 0 turns it off. */
  failurePercentageThreshold: number;
  failurePercentageMinimumHosts: number;
  failurePercentageRequestVolume: number;
}>;

/** Bounds per replica, and service, subset and port; Infinity where nothing is bounded. */
export type CircuitBreaker = Readonly<{
  maxConnections: number;
  maxPendingRequests: number;
  maxRequests: number;
  maxRetries: number;
  maxRequestsPerConnection: number;
  maxConcurrentStreams: number;
}>;

export type LocalityPolicy = Readonly<{
  distribute: readonly Readonly<{ from: string; to: ReadonlyMap<string, number> }>[];
  failover: readonly Readonly<{ from: string; to: string }>[];
  failoverPriority: readonly string[];
}>;

/**
 * TLS of the application inside the tunnel, or to an external host. `mesh`: the proxy's own identity, for which a tunnel
 * will do. Holds keys: it goes into no log, dump or error.
 */
export type UpstreamTls = Readonly<{
  mode: 'simple' | 'mutual' | 'mesh';
  /** The server that is asked for; '' for none. */
  sni: string;
  /** DNS names, addresses or URIs, one of which the server's certificate must have. Without any, no server is accepted. */
  subjectAltNames: readonly string[];
  /** PEM; empty, without a file either: the system's roots. */
  roots: string;
  /** PEM chain and key of `mutual`. */
  certificate: string;
  key: string;
  /** PEM; a server's chain is looked up in them, and each issuer in it must have one. Empty, without a file either: not looked up. */
  revocationLists: string;
  /** Where the proxy finds them, each in place of the text; '' for none. Read for every connection, as they may change. */
  rootsFile: string;
  certificateFile: string;
  keyFile: string;
  revocationListsFile: string;
  /** Whoever answers is accepted. */
  insecureSkipVerify: boolean;
}>;

export type RetryBudget = Readonly<{ percent: number; minConcurrency: number; intervalMs: number }>;

/** How one port of a service, or of a subset, is used. What is absent has Istio's default. */
export type TrafficPolicy = Readonly<{
  /** Why nothing may be sent: what is asked for cannot be done, and without it traffic would be less safe than written. */
  problem?: string;
  balancer: BalancerPolicy;
  warmup?: Warmup;
  locality?: LocalityPolicy;
  outliers?: OutlierPolicy;
  circuitBreaker?: CircuitBreaker;
  connectTimeoutMs: number;
  /** Of an HTTP connection without a request. */
  idleTimeoutMs: number;
  /** `undefined`: as the port's protocol says. */
  http2?: boolean;
  useClientProtocol: boolean;
  tls?: UpstreamTls;
  retryBudget?: RetryBudget;
}>;

export type Subset = Readonly<{
  name: string;
  labels: ReadonlyMap<string, string>;
  policy: TrafficPolicy;
  ports: ReadonlyMap<number, TrafficPolicy>;
}>;

/** What a DestinationRule says of one service, as seen by one waypoint. */
export type ServiceTrafficPolicy = Readonly<{
  service: ServiceKey;
  policy: TrafficPolicy;
  /** By service port; they replace `policy`. */
  ports: ReadonlyMap<number, TrafficPolicy>;
  subsets: readonly Subset[];
}>;

/** What holds where no DestinationRule says anything: Istio's defaults. */
export const DEFAULT_TRAFFIC_POLICY: TrafficPolicy = {
  balancer: { kind: 'least-request' },
  connectTimeoutMs: 10_000,
  idleTimeoutMs: 3_600_000,
  useClientProtocol: false,
};

/** The policy of a port of a service, or of a subset of it; a subset that is not known has none, and no endpoints. */
export function trafficPolicyOf(
  policy: ServiceTrafficPolicy | undefined,
  port: number,
  subset?: string,
): TrafficPolicy | undefined {
  if (subset === undefined)
    return policy?.ports.get(port) ?? policy?.policy ?? DEFAULT_TRAFFIC_POLICY;
  const found = policy?.subsets.find(({ name }) => name === subset);
  return found?.ports.get(port) ?? found?.policy;
}
