import { setTimeout as wait } from 'node:timers/promises';

export type BackoffOptions = Readonly<{
  initialMs: number;
  maxMs: number;
  /** By how much each pause grows; 2 unless told otherwise. */
  factor?: number;
  /** The part of a pause that is random, 0 to 1; half of it unless told otherwise. */
  jitter?: number;
  /** From 0 up to 1, as Math.random(). */
  random?: () => number;
}>;

/**
 * Pauses between tries, longer each time. Part of each is random, so that all who lost the same peer
 * do not come back to it in one moment.
 */
export class Backoff {
  readonly #options: Required<BackoffOptions>;
  #tries = 0;

  constructor(options: BackoffOptions) {
    this.#options = { factor: 2, jitter: 0.5, random: Math.random, ...options };
  }

  /** The length of the next pause in milliseconds; at most `maxMs`. */
  nextMs(): number {
    const { initialMs, maxMs, factor, jitter, random } = this.#options;
    const fullMs = Math.min(maxMs, initialMs * factor ** this.#tries);
    if (fullMs < maxMs) this.#tries++;
    return Math.round(fullMs * (1 - jitter * random()));
  }

  /** The next pause is short again: a try went well. */
  reset(): void {
    this.#tries = 0;
  }

  /**
   * Waits for the next pause.
   *
   * @throws {Error} AbortError when `signal` aborts.
   */
  async pause(signal: AbortSignal): Promise<void> {
    await wait(this.nextMs(), undefined, { signal });
  }
}
