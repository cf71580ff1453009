import { hash } from 'node:crypto';
import type { TokenLimit } from '../../mesh/model/rate-limit.ts';

/** 4 MiB: buckets of four rules with as many keys as a thread knows of each. */
const SLOTS = 262_144;
/** Slots that a key may be in. */
const WINDOW = 32;
/** A slot is being given to another key. */
const IN_CHANGE = -1n;
/** 146 years in nanoseconds: what is longer does not end, and sums of two still fit. */
const FOREVER_NS = 2 ** 62;

/**
 * Token buckets that all data threads of a process take from. A bucket is one number: when it will be full again, in nanoseconds
 * of the monotonic clock, which threads share. Tokens are taken by compare-and-exchange, so a thread that stops in the
 * middle stops no other; only keys that are new wait for each other.
 *
 * A key's slot is free for others as soon as its bucket is full, for then it is what a new one would be.
 */
export class ProcessBuckets {
  readonly #marks: BigInt64Array<SharedArrayBuffer>;
  readonly #fullAt: BigInt64Array<SharedArrayBuffer>;
  readonly #lock: Int32Array<SharedArrayBuffer>;

  /** @param memory of makeMemory(), the same one for all threads. */
  constructor(memory: SharedArrayBuffer) {
    const slots = (memory.byteLength - 8) / 16;
    this.#marks = new BigInt64Array(memory, 0, slots);
    this.#fullAt = new BigInt64Array(memory, slots * 8, slots);
    this.#lock = new Int32Array(memory, slots * 16, 1);
  }

  static makeMemory(slots = SLOTS): SharedArrayBuffer {
    return new SharedArrayBuffer(slots * 16 + 8);
  }

  /** What has been taken out of a bucket, as bucket.ts counts; `undefined` where there is no room for the key. */
  taken(mark: bigint, { requests }: TokenLimit, nowNs: bigint): number | undefined {
    const slot = this.#find(mark, nowNs);
    if (slot < 0) return undefined;
    const left = Atomics.load(this.#fullAt, slot) - nowNs;
    return left <= 0n ? 0 : Math.round((Number(left) * requests) / 1e6);
  }

  /** @returns whether the tokens were there, and are taken; `undefined` where there is no room for the key. */
  take(mark: bigint, limit: TokenLimit, cost: number, nowNs: bigint): boolean | undefined {
    if (limit.requests === 0) return false;
    const costNs = nanoseconds(Math.floor(timeOf(cost, limit)));
    const wholeNs = nanoseconds(Math.ceil(timeOf(limit.burst, limit)));
    for (;;) {
      const slot = this.#find(mark, nowNs);
      if (slot < 0) return undefined;
      const before = Atomics.load(this.#fullAt, slot);
      if (before === IN_CHANGE) continue;
      const after = (before > nowNs ? before : nowNs) + costNs;
      if (after - nowNs > wholeNs) {
        if (Atomics.load(this.#marks, slot) !== mark) continue; // of another key by now
        return false;
      }
      if (Atomics.compareExchange(this.#fullAt, slot, before, after) !== before) continue;
      // Where another key got the slot in between, that one has paid: less is let through, never more.
      if (Atomics.load(this.#marks, slot) === mark) return true;
    }
  }

  /** Undoes take(); tokens beyond a full bucket are lost. */
  giveBack(mark: bigint, limit: TokenLimit, cost: number, nowNs: bigint): void {
    const costNs = nanoseconds(Math.floor(timeOf(cost, limit)));
    for (;;) {
      const slot = this.#slotOf(mark);
      if (slot < 0) return; // it is full
      const before = Atomics.load(this.#fullAt, slot);
      if (before <= nowNs) return;
      if (Atomics.compareExchange(this.#fullAt, slot, before, before - costNs) === before) return;
    }
  }

  #find(mark: bigint, nowNs: bigint): number {
    const found = this.#slotOf(mark);
    return found >= 0 ? found : this.#insert(mark, nowNs);
  }

  #slotOf(mark: bigint): number {
    const marks = this.#marks;
    const first = this.#firstSlot(mark);
    for (let step = 0; step < WINDOW; step++) {
      const slot = (first + step) % marks.length;
      if (Atomics.load(marks, slot) === mark) return slot;
    }
    return -1;
  }

  #firstSlot(mark: bigint): number {
    return Number(BigInt.asUintN(32, mark)) % this.#marks.length;
  }

  /** One at a time, so that no key is in two slots. */
  #insert(mark: bigint, nowNs: bigint): number {
    while (Atomics.compareExchange(this.#lock, 0, 0, 1) !== 0) Atomics.wait(this.#lock, 0, 1, 1);
    try {
      const known = this.#slotOf(mark);
      if (known >= 0) return known;
      const first = this.#firstSlot(mark);
      for (let step = 0; step < WINDOW; step++) {
        const slot = (first + step) % this.#marks.length;
        const fullAt = Atomics.load(this.#fullAt, slot);
        if (fullAt > nowNs) continue;
        if (Atomics.compareExchange(this.#fullAt, slot, fullAt, IN_CHANGE) !== fullAt) continue;
        Atomics.store(this.#marks, slot, mark);
        Atomics.store(this.#fullAt, slot, 0n);
        return slot;
      }
      return -1;
    } finally {
      Atomics.store(this.#lock, 0, 0);
      Atomics.notify(this.#lock, 0);
    }
  }
}

/** What stands for a key of a counter; never 0, which is a slot that nobody had. */
export function markOf(counter: string, key: string): bigint {
  const digest = hash('sha256', `${counter}\n${key}`, 'buffer');
  return digest.readBigInt64LE() || 1n;
}

/** Of the clock that all threads of a process share. */
export function processTimeNs(): bigint {
  return process.hrtime.bigint();
}

/** In which so many tokens drop in, in nanoseconds. */
function timeOf(tokens: number, { requests, perMs }: TokenLimit): number {
  return (tokens * perMs * 1e6) / requests;
}

function nanoseconds(value: number): bigint {
  return BigInt(Math.min(value, FOREVER_NS));
}
