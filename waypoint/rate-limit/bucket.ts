import type { TokenLimit } from '../../mesh/model/rate-limit.ts';

/**
 * A token bucket, by what has been taken out of it and not dropped in again: 0 is a full one. The unit is `1/perMs` of a
 * token, of which `requests` drop in each millisecond, so that with whole milliseconds every number here is whole and no
 * rounding ever adds up: at most 10^7 * 86.4 * 10^6, below 2^53.
 */
export type Bucket = { taken: number; atMs: number };

/** Lets drop in what has since the last time. Time that goes backwards drops nothing in. */
export function refill(bucket: Bucket, { requests }: TokenLimit, nowMs: number): void {
  const passed = nowMs - bucket.atMs;
  if (passed <= 0) return;
  // A product beyond 2^53 is not exact, and then larger than all that can have been taken.
  bucket.taken = Math.max(0, bucket.taken - passed * requests);
  bucket.atMs = nowMs;
}

/** Whether so many tokens are there. Like all below, of a bucket that was refilled now. */
export function hasTokens(bucket: Bucket, limit: TokenLimit, cost: number): boolean {
  return bucket.taken + cost * limit.perMs <= limit.burst * limit.perMs;
}

export function takeTokens(bucket: Bucket, limit: TokenLimit, cost: number): void {
  bucket.taken += cost * limit.perMs;
}

/** Undoes takeTokens(); tokens beyond a full bucket are lost. */
export function giveBackTokens(bucket: Bucket, limit: TokenLimit, cost: number): void {
  bucket.taken = Math.max(0, bucket.taken - cost * limit.perMs);
}

/** Whole tokens that are there. */
export function tokensLeft(taken: number, { burst, perMs }: TokenLimit): number {
  return Math.max(0, Math.floor((burst * perMs - taken) / perMs));
}

/** Until so many tokens are there, in milliseconds; Infinity where none ever drop in. */
export function msUntilTokens(taken: number, limit: TokenLimit, cost: number): number {
  const missing = taken + (cost - limit.burst) * limit.perMs;
  return missing <= 0 ? 0 : Math.ceil(missing / limit.requests);
}

/** Until the bucket is full, in milliseconds. */
export function msUntilFull(taken: number, { requests }: TokenLimit): number {
  return taken === 0 ? 0 : Math.ceil(taken / requests);
}
