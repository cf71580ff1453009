/**
 * How many events the last interval had, nearly: the running interval's, and of the one before the part that still lies within
 * an interval of now, as if its events had come evenly. Two numbers, whatever the rate.
 */
export class SlidingCount {
  readonly intervalMs: number;
  #startMs = -Infinity;
  #before = 0;
  #current = 0;

  constructor(intervalMs: number) {
    this.intervalMs = intervalMs;
  }

  add(nowMs: number): void {
    this.#advance(nowMs);
    this.#current++;
  }

  count(nowMs: number): number {
    this.#advance(nowMs);
    return this.#current + this.#before * (1 - (nowMs - this.#startMs) / this.intervalMs);
  }

  #advance(nowMs: number): void {
    const passed = nowMs - this.#startMs;
    if (passed < this.intervalMs) return;
    this.#before = passed < 2 * this.intervalMs ? this.#current : 0;
    this.#current = 0;
    this.#startMs = passed < 2 * this.intervalMs ? this.#startMs + this.intervalMs : nowMs;
  }
}
