import type { Clock } from '../certs/clock.ts';

/** Of Envoy's adaptive_concurrency filter, with its defaults where it has any. */
export type AdaptiveConcurrencySettings = Readonly<{
  /** Which of an interval's latencies stands for it; percent. */
  samplePercentile: number;
  maxConcurrency: number;
  updateIntervalMs: number;
  minRtt: Readonly<{
    intervalMs: number;
    /** The measurement begins up to so many percent of the interval later. */
    jitterPercent: number;
    requestCount: number;
    /** Requests under way while it is measured. */
    minConcurrency: number;
    /** So much slower than the ideal is still good, in percent. */
    bufferPercent: number;
  }>;
}>;

/** Envoy's; the two intervals have no default there. */
export const DEFAULT_ADAPTIVE_CONCURRENCY: AdaptiveConcurrencySettings = {
  samplePercentile: 50,
  maxConcurrency: 1000,
  updateIntervalMs: 100,
  minRtt: {
    ...{ intervalMs: 60_000, jitterPercent: 15, requestCount: 50 },
    ...{ minConcurrency: 3, bufferPercent: 25 },
  },
};

const GRADIENT_RANGE = [0.5, 2] as const;
/** After so many updates at the minimum the ideal is measured anew: it may no longer hold. Envoy. */
const UPDATES_AT_MINIMUM = 5;

/**
 * Bounds requests under way by what their latency tells: now and then it lets only few through and measures the ideal round trip
 * (minRTT); in between, the limit grows by its square root while the latency stays near the ideal, and shrinks in
 * proportion when it does not. Envoy's gradient controller.
 */
export class AdaptiveConcurrency implements Disposable {
  readonly #settings: AdaptiveConcurrencySettings;
  readonly #clock: Clock;
  #limit: number;
  #limitBefore: number;
  #active = 0;
  #samples: number[] = [];
  #measuring = true;
  #minRttMs = 0;
  #updatesAtMinimum = 0;
  #cancel: (() => void) | undefined;
  #cancelMeasurement: (() => void) | undefined;

  constructor(settings: AdaptiveConcurrencySettings, clock: Clock) {
    this.#settings = settings;
    this.#clock = clock;
    this.#limit = settings.minRtt.minConcurrency;
    this.#limitBefore = this.#limit;
  }

  get limit(): number {
    return this.#limit;
  }

  get minRttMs(): number {
    return this.#minRttMs;
  }

  /** Whether the ideal round trip is being measured. */
  get measuring(): boolean {
    return this.#measuring;
  }

  /** @returns `undefined` over the limit: answered with 503, `reached concurrency limit`. */
  begin(): MeasuredRequest | undefined {
    if (this.#active >= this.#limit) return undefined;
    this.#active++;
    return new MeasuredRequest(this, this.#clock.now());
  }

  /** Only requests call it. @param beganMs `undefined` where the request says nothing of the endpoints' latency. */
  end(beganMs: number | undefined): void {
    this.#active--;
    if (beganMs === undefined) return;
    this.#samples.push(this.#clock.now() - beganMs);
    if (this.#measuring && this.#samples.length >= this.#settings.minRtt.requestCount)
      this.#endMeasurement();
  }

  [Symbol.dispose](): void {
    this.#cancel?.();
    this.#cancelMeasurement?.();
  }

  #beginMeasurement(): void {
    this.#cancel?.();
    this.#cancelMeasurement?.();
    this.#measuring = true;
    this.#samples = [];
    this.#updatesAtMinimum = 0;
    this.#limitBefore = this.#limit;
    this.#limit = this.#settings.minRtt.minConcurrency;
  }

  #endMeasurement(): void {
    const { intervalMs, jitterPercent } = this.#settings.minRtt;
    this.#minRttMs = this.#takeSample();
    this.#measuring = false;
    this.#limit = this.#limitBefore;
    const jitterMs = this.#clock.random() * intervalMs * (jitterPercent / 100);
    this.#cancelMeasurement = this.#clock.schedule(intervalMs + jitterMs, () => {
      this.#beginMeasurement();
    });
    this.#awaitUpdate();
  }

  #awaitUpdate(): void {
    this.#cancel = this.#clock.schedule(this.#settings.updateIntervalMs, () => {
      if (this.#samples.length > 0) this.#update(this.#takeSample());
      if (!this.#measuring) this.#awaitUpdate();
    });
  }

  #update(sampleMs: number): void {
    const { maxConcurrency, minRtt } = this.#settings;
    const [least, most] = GRADIENT_RANGE;
    const ideal = this.#minRttMs * (1 + minRtt.bufferPercent / 100);
    const gradient = sampleMs > 0 ? Math.min(most, Math.max(least, ideal / sampleMs)) : most;
    const deserved = gradient * this.#limit;
    const wanted = Math.floor(deserved + Math.sqrt(deserved)); // room for a burst, so that growth is tried at all
    this.#limit = Math.min(maxConcurrency, Math.max(minRtt.minConcurrency, wanted));
    if (this.#limit > minRtt.minConcurrency) this.#updatesAtMinimum = 0;
    else if (++this.#updatesAtMinimum >= UPDATES_AT_MINIMUM) this.#beginMeasurement();
  }

  /** The percentile of what was measured since the last time. */
  #takeSample(): number {
    const sorted = this.#samples.sort((a, b) => a - b);
    this.#samples = [];
    const at = Math.ceil((this.#settings.samplePercentile / 100) * sorted.length) - 1;
    return sorted[Math.max(0, at)] ?? 0;
  }
}

/** A request under way; it ends once. */
export class MeasuredRequest implements Disposable {
  #owner: AdaptiveConcurrency | undefined;
  readonly #beganMs: number;

  constructor(owner: AdaptiveConcurrency, beganMs: number) {
    this.#owner = owner;
    this.#beganMs = beganMs;
  }

  /** It was answered: its latency counts. */
  answered(): void {
    this.#owner?.end(this.#beganMs);
    this.#owner = undefined;
  }

  /** It ended without an answer. */
  [Symbol.dispose](): void {
    this.#owner?.end(undefined);
    this.#owner = undefined;
  }
}
