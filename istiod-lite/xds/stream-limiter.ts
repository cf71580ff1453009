import { availableParallelism } from 'node:os';

/** A new stream waits this long for its turn; istio/istio PILOT_MAX_REQUESTS_PER_SECOND and its wait. */
const MAX_WAIT_MS = 1000;

/** Lets so many new streams through in a second, so that a thousand proxies that come back together are served one after another. */
export class StreamLimiter {
  readonly #everyMs: number;
  readonly #burst: number;
  readonly #now: () => number;
  #nextMs = 0;

  /** @param perSecond as istio/istio: 15 and 5 for each core, at most 100. */
  constructor(
    perSecond = Math.min(15 + 5 * availableParallelism(), 100),
    now: () => number = () => performance.now(),
  ) {
    this.#everyMs = 1000 / perSecond;
    this.#burst = perSecond;
    this.#now = now;
  }

  /** How long to wait for a turn, in milliseconds; `undefined` when it would be too long. */
  take(): number | undefined {
    const now = this.#now();
    const earliest = now - this.#burst * this.#everyMs;
    const at = Math.max(this.#nextMs, earliest);
    const waitMs = at - now;
    if (waitMs > MAX_WAIT_MS) return undefined;
    this.#nextMs = at + this.#everyMs;
    return Math.max(0, waitMs);
  }
}
