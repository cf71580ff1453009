import type { BackendRetries } from '../mesh/model/backend-policy.ts';
import type { Service } from '../mesh/model/service.ts';
import type { HttpRequest } from './http-request.ts';
import type { UpstreamEndpoint } from './upstream/endpoint.ts';
import type { PoolLimits, UpstreamVersion } from './upstream/endpoint-pool.ts';

/** How one try went, for those who judge endpoints: an HTTP status (of gRPC: what its status means), or what was in its place. */
export type TryOutcome = number | 'connect-failure' | 'reset' | 'timeout';

/**
 * A port of a service, or of one of its subsets, as a request's configuration has it. What it counts and remembers of
 * endpoints outlives the configuration.
 */
export interface Backend {
  /** For the log. */
  readonly name: string;
  readonly version: UpstreamVersion;
  readonly limits: PoolLimits;
  readonly service: Service | undefined;
  readonly retryPolicy: BackendRetries | undefined;

  /**
   * Where the next try goes.
   *
   * @param tried where this request has been, in order; others are preferred.
   */
  chooseEndpoint(
    request: HttpRequest,
    tried: readonly UpstreamEndpoint[],
  ): UpstreamEndpoint | undefined;

  /** A try begins, unless there is no room for it: then why, and nothing of it is counted. */
  beginTry(endpoint: UpstreamEndpoint): NoRoom | undefined;
  /** The same try is over, whatever came of it. @param latencyMs until its answer began; `undefined` without one. */
  endTry(endpoint: UpstreamEndpoint, latencyMs?: number): void;
  /** What came of it, as soon as that is known; not told of one that was given up by the client. True: this ejects the endpoint. */
  judge(endpoint: UpstreamEndpoint, outcome: TryOutcome): boolean;

  /** A retry begins, unless the budget is spent. */
  beginRetry(): boolean;
  endRetry(): void;

  /** Where a request goes that has no endpoint here, or no room; `undefined` where it goes nowhere. */
  fallback(request: HttpRequest): Backend | undefined;
}

/** A circuit breaker is open, or as many are under way as adaptive concurrency allows. */
export type NoRoom = 'overflow' | 'concurrency-limit';
