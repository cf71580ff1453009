import type { PolicyKey } from './authorization.ts';
import type { BackendTarget } from './http-filter.ts';
import type { ServiceKey } from './service.ts';

/** What an endpoint is asked, and what says that it is well. */
export type HealthProbe = Readonly<
  /** A connection is made. */
  | { kind: 'tcp' }
  /** `grpc.health.v1.Health/Check` says SERVING; an empty `service` asks for the server as a whole. */
  | { kind: 'grpc'; service: string }
  /** GET; `host` is empty where the service's own name is meant. */
  | { kind: 'http'; path: string; host: string; statuses: readonly StatusRange[] }
>;

/** Both ends belong to it. */
export type StatusRange = Readonly<{ start: number; end: number }>;

/** Times in ms. */
export type HealthCheck = Readonly<{
  /** The service port at whose target endpoints are asked; `undefined`: the first of the service. */
  port?: number;
  intervalMs: number;
  timeoutMs: number;
  /** So many in a row change what an endpoint is taken for; the first check alone decides. */
  unhealthyThreshold: number;
  healthyThreshold: number;
  probe: HealthProbe;
}>;

/** Of Envoy's adaptive_concurrency filter, with its defaults where it has any. */
export type AdaptiveConcurrencySettings = Readonly<{
  /** Which of an interval's latencies stands for it; percent. */
  samplePercentile: number;
  maxConcurrency: number;
  updateIntervalMs: number;
  minRtt: Readonly<{
    intervalMs: number;
    /** The measurement begins up to so many percent of the interval later. */
    jitterPercent: number;
    requestCount: number;
    /** Requests under way while it is measured. */
    minConcurrency: number;
    /** So much slower than the ideal is still good, in percent. */
    bufferPercent: number;
  }>;
}>;

/** Envoy's; the two intervals have no default there. */
export const DEFAULT_ADAPTIVE_CONCURRENCY: AdaptiveConcurrencySettings = {
  samplePercentile: 50,
  maxConcurrency: 1000,
  updateIntervalMs: 100,
  minRtt: {
    ...{ intervalMs: 60_000, jitterPercent: 15, requestCount: 50 },
    ...{ minConcurrency: 3, bufferPercent: 25 },
  },
};

/** How requests to a service are tried again, beside what their route says. */
export type BackendRetries = Readonly<{
  /** A try that is over its time goes on beside the next one, and the first good answer counts. */
  hedges: boolean;
  /** Of requests whose route bounds no try. */
  perTryTimeoutMs?: number;
  /** The longest wait that an endpoint may ask for by Retry-After; 0: none is heeded. */
  maxRetryAfterMs?: number;
}>;

/** What a BackendPolicy says of one service. */
export type ServiceBackendPolicy = Readonly<{
  service: ServiceKey;
  /** The policy that says it. */
  policy: PolicyKey;
  healthCheck?: HealthCheck;
  adaptiveConcurrency?: AdaptiveConcurrencySettings;
  /** Where requests go for which the service has no endpoint, or no room. */
  fallback?: BackendTarget;
  retries?: BackendRetries;
}>;
