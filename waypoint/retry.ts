import type { RetryCondition, RetryPolicy } from '../mesh/model/http-route.ts';
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
  };
}

/** Policies are values that are replaced, never changed, so each is made ready once. */
const plans = new WeakMap<RetryPolicy, RetryPlan>();

/** How a request of that method is retried; an explicit policy holds for every method. */
export function retryPlan(policy: RetryPolicy | undefined, method: string): RetryPlan {
  if (policy === undefined) return IDEMPOTENT.has(method) ? IDEMPOTENT_PLAN : UNSENT_PLAN;
  let plan = plans.get(policy);
  if (plan === undefined) {
    plan = {
      attempts: policy.attempts,
      conditions: new Set(policy.conditions),
      statusCodes: new Set(policy.statusCodes),
      perTryTimeoutMs: policy.perTryTimeoutMs,
      hedges: policy.hedgeOnPerTryTimeout === true,
      backoffMs: policy.backoffMs,
    };
    plans.set(policy, plan);
  }
  return plan;
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
