/** Never sooner than this, however short a certificate lives. */
const MIN_RENEWAL_MS = 1_000;
/** 1 s doubling to 150 s, 20 % either way, as istio/ztunnel src/identity/manager.rs. */
const FIRST_BACKOFF_MS = 1_000;
const MAX_BACKOFF_MS = 150_000;
const JITTER = 0.2;

/** When to renew a certificate that came now: after half of what remains, so that a late one is not renewed at once. */
export function renewalTimeMs(nowMs: number, notAfterMs: number): number {
  return nowMs + Math.max(MIN_RENEWAL_MS, (notAfterMs - nowMs) / 2);
}

/**
 * How long to wait after a failure.
 *
 * @param failures in a row, from 1.
 * @param random from 0 up to 1.
 */
export function backoffMs(failures: number, random: number): number {
  const base = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(failures - 1, 16));
  return Math.round(base * (1 - JITTER + 2 * JITTER * random));
}
