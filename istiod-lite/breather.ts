import { setImmediate as nextTurn } from 'node:timers/promises';

/** Others wait no longer than this for long work that is done in slices. */
const SLICE_MS = 10;

/** Lets others have the thread between the slices of long work. */
export class Breather {
  #sinceMs = performance.now();

  /** To be awaited when it is there: a slice is over. */
  breathe(): Promise<void> | undefined {
    if (performance.now() - this.#sinceMs < SLICE_MS) return undefined;
    return nextTurn().then(() => {
      this.#sinceMs = performance.now();
    });
  }
}
