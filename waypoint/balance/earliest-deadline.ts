import { asFraction, type RandomSource } from './random-source.ts';

/**
 * Shares turns in proportion to weights that may change from turn to turn: each entry has a deadline, the earliest goes
 * next, and gets a new deadline 1/weight later. A binary heap in flat arrays, O(log n) a turn. Envoy's EDF scheduler.
 */
export class EarliestDeadlineFirst {
  /** The heap: positions of entries, by deadline. */
  readonly #heap: Int32Array;
  /** By entry. */
  readonly #deadlines: Float64Array;

  /**
   * @param weightOf above 0.
   * @param random where in its first turn each entry begins, so that many schedulers do not all begin with the same one.
   */
  constructor(size: number, weightOf: (entry: number) => number, random: RandomSource) {
    this.#heap = new Int32Array(size);
    this.#deadlines = new Float64Array(size);
    for (let entry = 0; entry < size; entry++) {
      this.#heap[entry] = entry;
      this.#deadlines[entry] = asFraction(random.next()) / weightOf(entry);
    }
    for (let at = (size >>> 1) - 1; at >= 0; at--) this.#sink(at);
  }

  /** The entry whose turn it is; -1 when there is none. It stays first until postpone(). */
  get next(): number {
    return this.#heap[0] ?? -1;
  }

  /** The entry that is next has had its turn, with a weight above 0. */
  postpone(weight: number): void {
    const entry = this.next;
    this.#deadlines[entry] = (this.#deadlines[entry] ?? 0) + 1 / weight;
    this.#sink(0);
  }

  #sink(start: number): void {
    const heap = this.#heap;
    const deadlines = this.#deadlines;
    const { length } = heap;
    const entry = heap[start] ?? 0;
    const deadline = deadlines[entry] ?? 0;
    let at = start;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= length) break;
      let childDeadline = deadlines[heap[child] ?? 0] ?? 0;
      if (child + 1 < length) {
        const other = deadlines[heap[child + 1] ?? 0] ?? 0;
        if (other < childDeadline) {
          child++;
          childDeadline = other;
        }
      }
      if (deadline <= childDeadline) break;
      heap[at] = heap[child] ?? 0;
      at = child;
    }
    heap[at] = entry;
  }
}
