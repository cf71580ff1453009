import type { DeltaDiscoveryRequest } from '../proto/gen/discovery.ts';

/** A type of resources that a client follows. */
export type SubscribedType = Readonly<{
  typeUrl: string;
  /** True: only what demand() asks for is followed, instead of everything. */
  onDemand: boolean;
}>;

const WILDCARD = '*';

type Demand = {
  answered: boolean;
  waiters: (() => void)[];
  /** Somebody relies on it; release() ends that. */
  wanted: boolean;
};

/** What a client holds of one type across streams: versions by name, and the keys that it asked for. */
export class HeldResources {
  readonly type: SubscribedType;
  readonly #versions = new Map<string, string>();
  /** The keys by which a held resource may be asked for: its name and aliases. Empty unless on demand. */
  readonly #keysOf = new Map<string, readonly string[]>();
  /** How many held resources each of those keys stands for. */
  readonly #standing = new Map<string, number>();
  readonly #demands = new Map<string, Demand>();
  accepted = false;

  constructor(type: SubscribedType) {
    this.type = type;
  }

  /** Keys that were asked for and are still followed. */
  get demanded(): number {
    return this.#demands.size;
  }

  get size(): number {
    return this.#versions.size;
  }

  /**
   * The first request of a stream. A resource whose latest version was refused is told with the version that is held,
   * or not at all when none is: so it is sent again, and its removal is not missed.
   */
  firstRequest(): Partial<DeltaDiscoveryRequest> {
    const initialResourceVersions = new Map(this.#versions);
    if (!this.type.onDemand) return { initialResourceVersions };
    for (const key of this.#demands.keys()) {
      if (!initialResourceVersions.has(key)) initialResourceVersions.set(key, '');
    }
    return {
      initialResourceVersions,
      resourceNamesSubscribe: [WILDCARD, ...this.#demands.keys()],
      resourceNamesUnsubscribe: [WILDCARD],
    };
  }

  hold(name: string, version: string, aliases: readonly string[]): void {
    this.#versions.set(name, version);
    if (!this.type.onDemand) return;
    const keys = [...new Set([name, ...aliases])];
    const before = this.#keysOf.get(name) ?? [];
    this.#keysOf.set(name, keys);
    for (const key of keys) this.#standing.set(key, (this.#standing.get(key) ?? 0) + 1);
    for (const key of before) this.#stepDown(key);
    this.answer(...keys);
  }

  /** @returns the keys to be unsubscribed from: they stand for nothing any more, and nobody wants them. */
  drop(name: string): readonly string[] {
    this.#versions.delete(name);
    const keys = this.#keysOf.get(name) ?? [];
    this.#keysOf.delete(name);
    for (const key of keys) this.#stepDown(key);
    this.answer(name, ...keys);
    return keys.filter((key) => this.#letGo(key));
  }

  /** Wakes those who wait for any of these keys, whatever became of them. */
  answer(...keys: readonly string[]): void {
    for (const key of keys) {
      const demand = this.#demands.get(key);
      if (demand === undefined) continue;
      demand.answered = true;
      const { waiters } = demand;
      demand.waiters = [];
      for (const wake of waiters) wake();
    }
  }

  /**
   * Asks for a key; `wake` runs when a response has named it.
   *
   * @returns `new` when the key is to be subscribed to now, `answered` when there is nothing to wait for.
   */
  demand(key: string, wake: () => void): 'new' | 'asked' | 'answered' {
    const known = this.#demands.get(key);
    if (known !== undefined) known.wanted = true;
    if (known?.answered === true) return 'answered';
    if (known !== undefined) {
      known.waiters.push(wake);
      return 'asked';
    }
    this.#demands.set(key, { answered: false, waiters: [wake], wanted: true });
    return 'new';
  }

  /**
   * Nobody relies on a key any more. One that stands for something that is held stays subscribed, so that what is held
   * stays true; there are no more of those than the mesh has.
   *
   * @returns whether it is to be unsubscribed from.
   */
  release(key: string): boolean {
    const demand = this.#demands.get(key);
    if (demand === undefined) return false;
    demand.wanted = false;
    return this.#letGo(key);
  }

  /** Who stopped waiting is not kept. */
  forgetWaiter(key: string, wake: () => void): void {
    const demand = this.#demands.get(key);
    if (demand !== undefined) demand.waiters = demand.waiters.filter((other) => other !== wake);
  }

  #letGo(key: string): boolean {
    const demand = this.#demands.get(key);
    if (demand === undefined || demand.wanted || this.#standing.has(key)) return false;
    this.#demands.delete(key);
    for (const wake of demand.waiters) wake();
    return true;
  }

  #stepDown(key: string): void {
    const left = (this.#standing.get(key) ?? 0) - 1;
    if (left > 0) this.#standing.set(key, left);
    else this.#standing.delete(key);
  }
}
