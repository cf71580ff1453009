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

/**
 * What the peer may still send, on a stream or on the connection, and what was used up since the last WINDOW_UPDATE.
 * Credit goes back in quarters of the window: few frames, and a peer that is at work never runs dry.
 */
export class ReceiveWindow {
  readonly #sizeBytes: number;
  #leftBytes: number;
  #usedBytes = 0;

  /**
   * @param sizeBytes what the window is kept at.
   * @param leftBytes what the peer may send at first.
   */
  constructor(sizeBytes: number, leftBytes: number) {
    this.#sizeBytes = sizeBytes;
    this.#leftBytes = leftBytes;
  }

  /** Counts a DATA frame's whole payload; false when the peer had no right to send it. */
  receive(bytes: number): boolean {
    this.#leftBytes -= bytes;
    return this.#leftBytes >= 0;
  }

  /** Counts bytes that are out of the way; returns the increment that is now due to the peer, mostly 0. */
  release(bytes: number): number {
    this.#usedBytes += bytes;
    const due = this.#usedBytes;
    if (due < this.#sizeBytes / 4 || due === 0) return 0;
    this.#usedBytes = 0;
    this.#leftBytes += due;
    return due;
  }
}
