import type { Clock } from './clock.ts';

/**
 * A limit that is set and lifted again and again, for every request of a connection: a timer that is running already is
 * left to it and looks, when it ends, at how much time is left.
 */
export class Deadline {
  readonly #clock: Clock;
  readonly #onPassed: () => void;
  #at = Infinity;
  #timerAt = Infinity;
  #cancelTimer: (() => void) | undefined;

  constructor(clock: Clock, onPassed: () => void) {
    this.#clock = clock;
    this.#onPassed = onPassed;
  }

  get isSet(): boolean {
    return this.#at !== Infinity;
  }

  /** Passes after `ms` from now. */
  set(ms: number): void {
    this.#at = this.#clock.now() + ms;
    if (this.#at >= this.#timerAt) return;
    this.#cancelTimer?.();
    this.#arm(ms);
  }

  clear(): void {
    this.#at = Infinity;
  }

  /** As clear(), and nothing is kept any more. */
  stop(): void {
    this.#at = Infinity;
    this.#timerAt = Infinity;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #arm(ms: number): void {
    this.#timerAt = this.#clock.now() + ms;
    this.#cancelTimer = this.#clock.after(ms, this.#onTimer);
  }

  readonly #onTimer = (): void => {
    this.#timerAt = Infinity;
    this.#cancelTimer = undefined;
    if (this.#at === Infinity) return;
    const leftMs = this.#at - this.#clock.now();
    if (leftMs > 0) {
      this.#arm(leftMs);
      return;
    }
    this.#at = Infinity;
    this.#onPassed();
  };
}
