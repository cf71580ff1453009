import { hash } from 'node:crypto';

/** What a client's token says: an endpoint, by its mark, and when its session began. */
export type SessionToken = Readonly<{ mark: string; beganSeconds: number }>;

/**
 * A token is three texts in a row: the mark of the rule, that of the endpoint, and, where sessions end after a time, the second in
 * which this one began (base 36).
 *
 * Marks are truncated hashes, so every replica makes the same ones, now and after a restart, and shares no secret with others.
 * They tell a client nothing, and can name nothing that is not an endpoint of the rule's own backends: who makes a token up, or
 * sets its time forward, has chosen among the healthy endpoints that it would be sent to anyway.
 */
const RULE_MARK_LENGTH = 8;
/** 132 bits: two endpoints never have the same. */
const ENDPOINT_MARK_LENGTH = 22;
const MARKS_LENGTH = RULE_MARK_LENGTH + ENDPOINT_MARK_LENGTH;
/** Base 36 reaches the year 4000 with seven; what is longer is not ours. */
const MAX_TIME_LENGTH = 8;
/** Clocks of replicas differ. */
const MAX_SKEW_SECONDS = 60;

/** No session is carried from one rule to another. GEP-1619. */
export function ruleMark(rule: string): string {
  return mark(['rule', rule], RULE_MARK_LENGTH);
}

/**
 * @param target the service, port and subset.
 * @param endpoint its name there.
 */
export function endpointMark(target: string, endpoint: string): string {
  return mark(['endpoint', target, endpoint], ENDPOINT_MARK_LENGTH);
}

function mark(parts: readonly string[], length: number): string {
  return hash('sha256', `halo session\n${parts.join('\n')}`, 'base64url').slice(0, length);
}

/** @param beganSeconds of Unix time; `undefined` where sessions have no end of their own. */
export function formatToken(rule: string, endpoint: string, beganSeconds?: number): string {
  return `${rule}${endpoint}${beganSeconds?.toString(36) ?? ''}`;
}

/**
 * @param rule the mark of the rule that the request has.
 * @param absoluteMs after which a session is over.
 * @returns `undefined` for what is of another rule, over, or no token.
 */
export function parseToken(
  rule: string,
  token: string,
  absoluteMs: number | undefined,
  nowMs: number,
): SessionToken | undefined {
  if (token.length < MARKS_LENGTH || token.length > MARKS_LENGTH + MAX_TIME_LENGTH)
    return undefined;
  if (!token.startsWith(rule)) return undefined;
  const found = token.slice(RULE_MARK_LENGTH, MARKS_LENGTH);
  const time = token.slice(MARKS_LENGTH);
  if (!/^[0-9a-z]*$/.test(time)) return undefined;
  if (absoluteMs === undefined) return { mark: found, beganSeconds: 0 };
  const beganSeconds = parseInt(time, 36); // NaN is no time in which it could hold
  const ageMs = nowMs - beganSeconds * 1000;
  const isCurrent = ageMs < absoluteMs && ageMs >= -MAX_SKEW_SECONDS * 1000;
  return isCurrent ? { mark: found, beganSeconds } : undefined;
}
