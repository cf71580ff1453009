import type { PolicyKey, ServiceAccountMatch, StringMatch } from './authorization.ts';
import type { ValueMatch } from './http-route.ts';
import { headerMatchProblem } from './http-rule-problem.ts';
import { regexProblem } from './regex.ts';
import type { ServiceKey } from './service.ts';

/** All that is there must hold; of a list without values anything does. */
export type RateLimitMatch = Readonly<{
  /** SPIFFE ids without `spiffe://`. A client without an identity matches none. */
  principals: readonly StringMatch[];
  namespaces: readonly StringMatch[];
  serviceAccounts: readonly ServiceAccountMatch[];
  headers: readonly ValueMatch[];
  methods: readonly string[];
  /** A prefix is one of whole segments. */
  path?: Readonly<{ kind: 'exact' | 'prefix'; value: string }>;
}>;

/** What requests that are counted together have in common. Where it is missing, they have that in common. */
export type RateLimitKeyPart = Readonly<
  { kind: 'identity' | 'namespace' | 'path' | 'client-address' } | { kind: 'header'; name: string }
>;

/**
 * A bucket of `burst` tokens into which `requests` tokens drop in every `perMs`, evenly. Whole numbers; 0 requests let
 * nothing pass.
 */
export type TokenLimit = Readonly<{ requests: number; perMs: number; burst: number }>;

export type RateLimitRule = Readonly<{
  /** For logs and metrics. */
  name: string;
  /** Names the counters: rules of equal names and limits, wherever they are, count together. */
  counter: string;
  match: RateLimitMatch;
  key: readonly RateLimitKeyPart[];
  /** Absent: requests that match are not counted. */
  limit?: TokenLimit;
  /** Tokens that a request takes. */
  cost: number;
  /** Counts and tells, and refuses nothing. */
  shadow: boolean;
}>;

/** A policy as it counts for one service; the first rule that matches a request counts it. */
export type RateLimit = Readonly<{
  policy: PolicyKey;
  scope: 'local' | 'global';
  /** A request that cannot be counted passes. */
  failOpen: boolean;
  /** Responses tell clients what is left to them. */
  tellsClients: boolean;
  rules: readonly RateLimitRule[];
}>;

/** All that counts the requests to one service. Every policy must let a request pass. */
export type ServiceRateLimits = Readonly<{
  service: ServiceKey;
  limits: readonly RateLimit[];
}>;

/** Beyond these sums are no longer exact: a bucket counts in `1/perMs` of a token, up to `burst * perMs`. */
export const MAX_LIMIT_REQUESTS = 10_000_000;
export const MAX_LIMIT_PER_MS = 24 * 3_600_000;

/** Why a waypoint cannot use a rule, as the end of a sentence; `undefined` when it can. */
export function rateLimitRuleProblem({
  match,
  key,
  limit,
  cost,
}: RateLimitRule): string | undefined {
  for (const header of match.headers) {
    const problem =
      headerMatchProblem(header.name) ??
      (header.kind === 'regex' ? regexProblem(header.value) : undefined);
    if (problem !== undefined) return problem;
  }
  for (const part of key) {
    const problem = part.kind === 'header' ? headerMatchProblem(part.name) : undefined;
    if (problem !== undefined) return problem;
  }
  if (!isWhole(cost, 1, MAX_LIMIT_REQUESTS)) return `bad cost ${cost}`;
  if (limit === undefined) return undefined;
  const { requests, perMs, burst } = limit;
  if (!isWhole(requests, 0, MAX_LIMIT_REQUESTS)) return `bad number of requests ${requests}`;
  if (!isWhole(perMs, 1, MAX_LIMIT_PER_MS)) return `bad period ${perMs}`;
  if (!isWhole(burst, requests === 0 ? 0 : cost, requests === 0 ? 0 : MAX_LIMIT_REQUESTS))
    return `bad burst ${burst}`;
  return undefined;
}

function isWhole(value: number, minimum: number, maximum: number): boolean {
  return Number.isInteger(value) && value >= minimum && value <= maximum;
}
