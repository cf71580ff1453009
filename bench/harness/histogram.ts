/** Buckets to each doubling: no value is told wrong by more than 1/64. */
const STEPS = 64;
const STEP_BITS = 6;
const MAX_DOUBLINGS = 26;

/** Latencies from 1 us to more than an hour in fixed memory; recording allocates nothing. */
export class Histogram {
  readonly #counts = new Float64Array(STEPS * MAX_DOUBLINGS);
  #count = 0;
  #max = 0;

  /** @param us microseconds; what is negative counts as 0. @param times how often it was seen. */
  record(us: number, times = 1): void {
    const value = Math.max(0, Math.round(us));
    const index = bucketOf(value);
    this.#counts[index] = (this.#counts[index] ?? 0) + times;
    this.#count += times;
    if (value > this.#max) this.#max = value;
  }

  get count(): number {
    return this.#count;
  }

  get max(): number {
    return this.#max;
  }

  /** All that was recorded: the middle of each bucket that is not empty, in microseconds, and its count. */
  buckets(): [us: number, count: number][] {
    return [...this.#counts.entries()].flatMap(([index, count]) =>
      count === 0 ? [] : [[middleOf(index), count] as [number, number]],
    );
  }

  /** Microseconds below which the part `q` (0 to 1) of all lies; NaN when empty. */
  quantile(q: number): number {
    if (this.#count === 0) return NaN;
    const wanted = Math.max(1, Math.ceil(q * this.#count));
    let seen = 0;
    for (let index = 0; index < this.#counts.length; index++) {
      seen += this.#counts[index] ?? 0;
      if (seen >= wanted) return Math.min(middleOf(index), this.#max);
    }
    return this.#max;
  }
}

/** 0 to 63 as they are; from there on 64 buckets to each doubling. */
function bucketOf(value: number): number {
  if (value < STEPS) return value;
  const doubling = 31 - Math.clz32(value) - STEP_BITS;
  const index = STEPS * (doubling + 1) + (value >>> doubling) - STEPS;
  return Math.min(index, STEPS * MAX_DOUBLINGS - 1);
}

function middleOf(index: number): number {
  if (index < STEPS) return index;
  const doubling = Math.floor(index / STEPS) - 1;
  const lowest = ((index % STEPS) + STEPS) * 2 ** doubling;
  return lowest + (2 ** doubling - 1) / 2;
}
