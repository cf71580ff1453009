/** Hands on what comes within one turn of the loop as one batch; nothing is dropped. */
export class TurnBatch<T> {
  readonly #send: (batch: readonly T[]) => void;
  #batch: T[] = [];

  constructor(send: (batch: readonly T[]) => void) {
    this.#send = send;
  }

  add(item: T): void {
    if (this.#batch.push(item) > 1) return;
    setImmediate(() => {
      const batch = this.#batch;
      this.#batch = [];
      this.#send(batch);
    });
  }
}
