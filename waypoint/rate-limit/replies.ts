import type { TokenLimit } from '../../mesh/model/rate-limit.ts';
import type { HeaderList } from '../../net/h2/headers.ts';
import type { LocalReply } from '../local-reply.ts';
import { DPE, RL, RLSE } from '../response-flags.ts';
import { msUntilFull, msUntilTokens, tokensLeft } from './bucket.ts';
import type { CompiledRule, Counting } from './compiled-limits.ts';

const GRPC_RESOURCE_EXHAUSTED = 8;
const GRPC_UNAVAILABLE = 14;

/** Tokens could not be counted, and the policy would rather refuse; Envoy's status and words. */
export function notCounted(policy: string): LocalReply {
  return {
    ...{ status: 500, flags: RLSE, details: 'rate_limiter_error', body: '' },
    ...{ grpcStatus: GRPC_UNAVAILABLE, policy },
  };
}

/** The control plane has said nothing of this service yet. */
export const NOT_CONFIGURED: LocalReply = {
  ...{ status: 500, flags: RLSE, details: 'rate_limits_unknown', body: '' },
  grpcStatus: GRPC_UNAVAILABLE,
};

/** A header that a pattern has to be held against is too long for it. */
export const TOO_LONG: LocalReply = {
  ...{ status: 431, flags: DPE, details: 'rate_limit_header_too_long', body: '' },
};

/** What is left of one bucket after a request. */
export type Standing = Readonly<{ rule: CompiledRule; counting: Counting; taken: number }>;

/** There were no tokens for it. */
export function rateLimited(standing: Standing): LocalReply {
  const { rule, of } = standing.rule;
  const { limit } = standing.counting;
  const waitMs = msUntilTokens(standing.taken, limit, rule.cost);
  const headers: string[] = of.tellsClients ? [...standingFields(limit, standing.taken)] : [];
  if (Number.isFinite(waitMs)) headers.push('retry-after', String(seconds(waitMs)));
  if (of.scope === 'global') headers.push('x-envoy-ratelimited', 'true');
  const details = of.scope === 'local' ? 'local_rate_limited' : 'request_rate_limited';
  return {
    ...{ status: 429, flags: RL, details, body: details === 'local_rate_limited' ? details : '' },
    ...{ headers, grpcStatus: GRPC_RESOURCE_EXHAUSTED, policy: of.policy },
  };
}

/** As Envoy has them: draft-polli-ratelimit-headers-03. */
export function standingFields(limit: TokenLimit, taken: number): HeaderList {
  const { burst, requests, perMs } = limit;
  return [
    ...['x-ratelimit-limit', `${burst}, ${requests};w=${seconds(perMs)}`],
    ...['x-ratelimit-remaining', String(tokensLeft(taken, limit))],
    ...['x-ratelimit-reset', String(seconds(msUntilFull(taken, limit)))],
  ];
}

/** A client that waits so long finds what it waited for. */
function seconds(ms: number): number {
  return Math.ceil(ms / 1000);
}
