import type { Clock } from '../certs/clock.ts';
import type { AdaptiveConcurrencySettings } from '../mesh/model/backend-policy.ts';

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
  #disposed = false;
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

  /** A request begins. @returns false over the limit: it does not, and is answered with 503, `reached concurrency limit`. */
  begin(): boolean {
    if (this.#active >= this.#limit) return false;
    this.#active++;
    return true;
  }

  /** A request that began is over. @param latencyMs `undefined` where it says nothing of the endpoints' latency. */
  end(latencyMs: number | undefined): void {
    this.#active--;
    if (latencyMs === undefined || this.#disposed) return;
    this.#samples.push(latencyMs);
    if (this.#measuring && this.#samples.length >= this.#settings.minRtt.requestCount)
      this.#endMeasurement();
  }

  /** Requests that began may still end. */
  [Symbol.dispose](): void {
    this.#disposed = true;
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
