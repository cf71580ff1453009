import type { DemandKey } from '../mesh/proxy/state/answered.ts';

/** The stream to the control plane, as far as it is asked on demand. */
export type DemandClient = Readonly<{
  /** Settles when a response has named the key and has been applied. */
  demand: (key: DemandKey) => Promise<void>;
  release: (key: DemandKey) => void;
}>;

/** Which data threads rely on which keys: a key is released when the last of them lets it go. */
export class DemandHolders {
  readonly #client: DemandClient;
  readonly #threads = new Map<DemandKey, readonly number[]>();

  constructor(client: DemandClient) {
    this.#client = client;
  }

  async demand(thread: number, key: DemandKey): Promise<void> {
    const threads = this.#threads.get(key) ?? [];
    if (!threads.includes(thread)) this.#threads.set(key, [...threads, thread]);
    await this.#client.demand(key);
  }

  release(thread: number, key: DemandKey): void {
    const threads = this.#threads.get(key) ?? [];
    const left = threads.filter((other) => other !== thread);
    if (left.length === threads.length) return;
    if (left.length > 0) {
      this.#threads.set(key, left);
      return;
    }
    this.#threads.delete(key);
    this.#client.release(key);
  }
}
