import { perObject } from '../base/per-object.ts';
import type { BackendRetries } from '../mesh/model/backend-policy.ts';
import type { RetryCondition, RetryPolicy } from '../mesh/model/http-route.ts';
import { findHeader, type HeaderList } from '../net/h2/headers.ts';
import type { UpstreamFailure } from './upstream/failure.ts';

/** A retry policy, ready to be asked. */
export type RetryPlan = Readonly<{
  /** Retries, beside the first try. */
  attempts: number;
  conditions: ReadonlySet<RetryCondition>;
  statusCodes: ReadonlySet<number>;
  perTryTimeoutMs: number | undefined;
  hedges: boolean;
  backoffMs: number;
  /** The longest wait that an answer may ask for; 0: none is heeded. */
  maxRetryAfterMs: number;
}>;

/** The first bytes of a response, as far as they decide about a retry. */
export type ResponseFacts = Readonly<{
  status: number;
  /** Of a gRPC response that consists of headers alone: one in trailers comes too late. */
  grpcStatus: number | undefined;
  /** `x-envoy-overloaded`: sending more would make it worse. */
  overloaded: boolean;
}>;

/** 2, as Istio's default retry policy: three endpoints in all. */
const DEFAULT_ATTEMPTS = 2;
/** 25 ms, as Envoy's retry back-off: the first pause is random below it. */
export const DEFAULT_BACKOFF_MS = 25;
/** 10 s: the client is kept waiting meanwhile. A BackendPolicy may allow up to 300 s, as Envoy's rate_limited_retry_back_off. */
const DEFAULT_MAX_RETRY_AFTER_MS = 10_000;
/** Ten times the base, as Envoy's retry back-off: the longest pause. */
const MAX_BACKOFF_FACTOR = 10;

/** RFC 9110 section 9.2.2, without TRACE, which is not forwarded. */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']);

const GRPC_CONDITIONS: ReadonlyMap<number, RetryCondition> = new Map([
  [1, 'cancelled'],
  [4, 'deadline-exceeded'],
  [8, 'resource-exhausted'],
  [13, 'internal'],
  [14, 'unavailable'],
]);

/** What holds where no policy speaks: a request that had no effect yet, or whose effect is the same twice, is repeated. */
const UNSENT_PLAN = makeDefaultPlan('connect-failure', 'refused-stream', 'reset-before-request');
const IDEMPOTENT_PLAN = makeDefaultPlan(
  ...(['connect-failure', 'refused-stream', 'reset', 'unavailable', 'cancelled'] as const),
);

function makeDefaultPlan(...conditions: readonly RetryCondition[]): RetryPlan {
  return {
    attempts: DEFAULT_ATTEMPTS,
    conditions: new Set(conditions),
    statusCodes: new Set(),
    perTryTimeoutMs: undefined,
    hedges: false,
    backoffMs: DEFAULT_BACKOFF_MS,
    maxRetryAfterMs: DEFAULT_MAX_RETRY_AFTER_MS,
  };
}

/** Policies are values that are replaced, never changed, so each is made ready once. */
const planOf = perObject(
  (policy: RetryPolicy): RetryPlan => ({
    attempts: policy.attempts,
    conditions: new Set(policy.conditions),
    statusCodes: new Set(policy.statusCodes),
    perTryTimeoutMs: policy.perTryTimeoutMs,
    hedges: policy.hedgeOnPerTryTimeout === true,
    backoffMs: policy.backoffMs,
    maxRetryAfterMs: DEFAULT_MAX_RETRY_AFTER_MS,
  }),
);

/** How a request of that method is retried; an explicit policy holds for every method. */
export function retryPlan(policy: RetryPolicy | undefined, method: string): RetryPlan {
  if (policy !== undefined) return planOf(policy);
  return IDEMPOTENT.has(method) ? IDEMPOTENT_PLAN : UNSENT_PLAN;
}

/** What a backend's own policy makes of a plan; each is made once. */
const backendPlans = new WeakMap<BackendRetries, Map<RetryPlan, RetryPlan>>();

/** A plan with what the backend's policy says of retries. Where no route speaks, only what may be done twice is hedged. */
export function withBackendRetries(
  plan: RetryPlan,
  retries: BackendRetries | undefined,
): RetryPlan {
  if (retries === undefined) return plan;
  const known = backendPlans.get(retries) ?? new Map<RetryPlan, RetryPlan>();
  backendPlans.set(retries, known);
  let made = known.get(plan);
  if (made === undefined) {
    made = {
      ...plan,
      perTryTimeoutMs: plan.perTryTimeoutMs ?? retries.perTryTimeoutMs,
      hedges: plan.hedges || (retries.hedges && plan !== UNSENT_PLAN),
      maxRetryAfterMs: retries.maxRetryAfterMs ?? plan.maxRetryAfterMs,
    };
    known.set(plan, made);
  }
  return made;
}

/** Whether that response asks for another try, if there is one left. */
export function isRetriableResponse(plan: RetryPlan, response: ResponseFacts): boolean {
  const { conditions } = plan;
  const { status, grpcStatus } = response;
  if (response.overloaded) return false;
  if (grpcStatus !== undefined) {
    const condition = GRPC_CONDITIONS.get(grpcStatus);
    if (condition !== undefined && conditions.has(condition)) return true;
  }
  if (status < 400) return false;
  if (status >= 500 && conditions.has('5xx')) return true;
  if (status >= 502 && status <= 504 && conditions.has('gateway-error')) return true;
  if (status === 409 && conditions.has('retriable-4xx')) return true;
  return plan.statusCodes.has(status) && conditions.has('retriable-status-codes');
}

/**
 * Whether a try that ended without a response asks for another one.
 *
 * @param sent the request's head had been handed to a connection.
 */
export function isRetriableFailure(
  plan: RetryPlan,
  failure: UpstreamFailure,
  sent: boolean,
): boolean {
  const { conditions } = plan;
  if (failure === 'overflow' || failure === 'local-reset') return false;
  if (conditions.has('reset') || conditions.has('5xx') || conditions.has('gateway-error'))
    return true;
  if (!sent && conditions.has('reset-before-request')) return true;
  if (failure === 'refused') return conditions.has('refused-stream');
  return failure === 'connection-failure' && conditions.has('connect-failure');
}

/** @param retry the number of the retry, from 1. @param random from 0 to below 1. */
export function backoffMs(baseMs: number, retry: number, random: number): number {
  const most = Math.min(2 ** retry - 1, MAX_BACKOFF_FACTOR) * baseMs;
  return random * most;
}

/**
 * How long an answer asks to be left alone: by Retry-After, in seconds or as a date (RFC 9110 section 10.2.3); a 429 also by
 * X-RateLimit-Reset, as a time of Unix or in seconds. `undefined` where it does not ask, or for longer than is heeded.
 *
 * @param nowMs of Unix time.
 */
export function askedPauseMs(
  { maxRetryAfterMs }: RetryPlan,
  status: number,
  headers: HeaderList,
  nowMs: number,
): number | undefined {
  if (maxRetryAfterMs === 0) return undefined;
  const asked =
    retryAfterMs(findHeader(headers, 'retry-after'), nowMs) ??
    (status === 429 ? resetMs(findHeader(headers, 'x-ratelimit-reset'), nowMs) : undefined);
  return asked !== undefined && asked > 0 && asked <= maxRetryAfterMs ? asked : undefined;
}

const SECONDS = /^\d{1,10}$/;
/** No reset lies so many seconds ahead, and no clock so far behind: what is more is a time of Unix. */
const LEAST_UNIX_SECONDS = 1_000_000_000;

function retryAfterMs(value: string | undefined, nowMs: number): number | undefined {
  if (value === undefined) return undefined;
  if (SECONDS.test(value)) return Number(value) * 1000;
  const dateMs = value.endsWith('GMT') ? Date.parse(value) : NaN;
  return Number.isNaN(dateMs) ? undefined : dateMs - nowMs;
}

function resetMs(value: string | undefined, nowMs: number): number | undefined {
  if (value === undefined || !SECONDS.test(value)) return undefined;
  const seconds = Number(value);
  return seconds < LEAST_UNIX_SECONDS ? seconds * 1000 : seconds * 1000 - nowMs;
}

/** Clients that were told the same do not come back at the same time: up to half of it is added. Envoy. */
export function jitteredPauseMs(askedMs: number, random: number): number {
  return askedMs * (1 + random / 2);
}
