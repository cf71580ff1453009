import type { Warmup } from '../../mesh/model/traffic-policy.ts';
import type { EndpointState } from '../endpoint-state.ts';

/** A ramp begins here, so that the first request finds a weight. Envoy. */
const MIN_AGE_MS = 1000;
/** A weight of nothing at all would have no turn, and so never grow. */
const MIN_PART = 1e-6;

/** When the endpoint has its full share. */
export function warmAtMs(state: EndpointState, warmup: Warmup): number {
  return state.warmSinceMs + warmup.durationMs;
}

/** The part of its weight that an endpoint has: grows from `minimumPercent` to 1 over `durationMs`. Envoy slow start. */
export function warmPart(state: EndpointState, warmup: Warmup, nowMs: number): number {
  const ageMs = nowMs - state.warmSinceMs;
  if (ageMs >= warmup.durationMs) return 1;
  const grown = (Math.max(ageMs, MIN_AGE_MS) / warmup.durationMs) ** (1 / warmup.aggression);
  return Math.min(1, Math.max(warmup.minimumPercent / 100, grown, MIN_PART));
}
