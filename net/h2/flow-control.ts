import { MAX_31_BITS } from './limits.ts';

/**
 * A send window after the peer's WINDOW_UPDATE, or after a change of SETTINGS_INITIAL_WINDOW_SIZE, which may be negative
 * and take the window below zero. RFC 9113 section 6.9.
 *
 * @returns -Infinity when the window would pass 2^31-1.
 */
export function addCredit(windowBytes: number, increment: number): number {
  const sum = windowBytes + increment;
  return sum > MAX_31_BITS ? -Infinity : sum;
}

/** What the receive windows of a connection's streams may grow by together, beyond what each begins with. */
export class WindowBudget {
  #leftBytes: number;

  constructor(bytes: number) {
    this.#leftBytes = bytes;
  }

  /** True when all of it could be had. */
  take(bytes: number): boolean {
    if (bytes > this.#leftBytes) return false;
    this.#leftBytes -= bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.#leftBytes += bytes;
  }
}

export type WindowGrowth = Readonly<{ maxBytes: number; budget: WindowBudget }>;

/**
 * What the peer may still send, on a stream or on the connection, and what was used up since the last WINDOW_UPDATE.
 * Credit goes back in quarters of the window: few frames, and a peer that is at work never runs dry. A window that may
 * grow doubles each time its reader has kept up, so that one that stalls early never holds much.
 */
export class ReceiveWindow {
  readonly #startBytes: number;
  readonly #growth: WindowGrowth | undefined;
  #sizeBytes: number;
  #leftBytes: number;
  #usedBytes = 0;

  /**
   * @param sizeBytes what the window is kept at.
   * @param leftBytes what the peer may send at first.
   */
  constructor(sizeBytes: number, leftBytes: number, growth?: WindowGrowth) {
    this.#startBytes = sizeBytes;
    this.#sizeBytes = sizeBytes;
    this.#leftBytes = leftBytes;
    this.#growth = growth;
  }

  /** Counts a DATA frame's whole payload; false when the peer had no right to send it. */
  receive(bytes: number): boolean {
    this.#leftBytes -= bytes;
    return this.#leftBytes >= 0;
  }

  /**
   * Counts bytes that are out of the way; returns the increment that is now due to the peer, mostly 0.
   *
   * @param keepsUp whether nothing waits behind them.
   */
  release(bytes: number, keepsUp = false): number {
    this.#usedBytes += bytes;
    if (this.#usedBytes < this.#sizeBytes / 4 || this.#usedBytes === 0) return 0;
    const due = this.#usedBytes + (keepsUp ? this.#grow() : 0);
    this.#usedBytes = 0;
    this.#leftBytes += due;
    return due;
  }

  /** Nothing is held for it any more: what it grew by is for others. Idempotent. */
  retire(): void {
    this.#growth?.budget.giveBack(this.#sizeBytes - this.#startBytes);
    this.#sizeBytes = this.#startBytes;
  }

  #grow(): number {
    if (this.#growth === undefined) return 0;
    const { maxBytes, budget } = this.#growth;
    const more = Math.min(this.#sizeBytes, maxBytes - this.#sizeBytes);
    if (more <= 0 || !budget.take(more)) return 0;
    this.#sizeBytes += more;
    return more;
  }
}
