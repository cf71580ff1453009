/** Of one thread, while the other one is busy. */
const MAX_WAITING = 1024;

/**
 * Hands what one thread makes to another one, a batch at a time: what comes meanwhile waits for the next, and beyond the
 * bound is dropped. Requests wait for none of this.
 */
export class BatchSender<T> {
  readonly #send: (batch: readonly T[]) => Promise<unknown>;
  readonly #onDropped: (count: number) => void;
  #waiting: T[] = [];
  #isSending = false;

  /** @param send settles when the next batch can go; when it rejects, its batch was dropped. */
  constructor(send: (batch: readonly T[]) => Promise<unknown>, onDropped: (count: number) => void) {
    this.#send = send;
    this.#onDropped = onDropped;
  }

  add(item: T): void {
    if (this.#waiting.length >= MAX_WAITING) {
      this.#onDropped(1);
      return;
    }
    this.#waiting.push(item);
    if (!this.#isSending) void this.#sendAll();
  }

  async #sendAll(): Promise<void> {
    this.#isSending = true;
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        await this.#send(batch);
      } catch {
        // The other thread is gone, and everything ends.
        this.#onDropped(batch.length);
      }
    }
    this.#isSending = false;
  }
}
