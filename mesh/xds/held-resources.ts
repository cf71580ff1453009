import type { DeltaDiscoveryRequest } from '../proto/gen/discovery.ts';

/** A type of resources that a client follows. */
export type SubscribedType = Readonly<{
  typeUrl: string;
  /** True: only what demand() asks for is followed, instead of everything. */
  onDemand: boolean;
}>;

const WILDCARD = '*';
/**
 * Keys that may be followed on demand. Each address that a pod dials is one, so a scan must not fill the memory; the
 * oldest one that stands for nothing is let go.
 */
const MAX_DEMANDED = 65_536;

type Demand = { answered: boolean; waiters: (() => void)[] };

/** What a client holds of one type across streams: versions by name, and the keys that it asked for. */
export class HeldResources {
  readonly type: SubscribedType;
  readonly #versions = new Map<string, string>();
  /** The keys by which a held resource may be asked for: its name and aliases. Empty unless on demand. */
  readonly #keysOf = new Map<string, readonly string[]>();
  readonly #demands = new Map<string, Demand>();
  accepted = false;

  constructor(type: SubscribedType) {
    this.type = type;
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
    this.#keysOf.set(name, [name, ...aliases]);
    this.answer(name, ...aliases);
  }

  drop(name: string): void {
    this.#versions.delete(name);
    this.answer(name, ...(this.#keysOf.get(name) ?? []));
    this.#keysOf.delete(name);
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
   * @returns what is to be sent now, or `answered` when there is nothing to wait for.
   */
  demand(
    key: string,
    wake: () => void,
  ): 'answered' | Readonly<{ subscribe: readonly string[]; unsubscribe: readonly string[] }> {
    const known = this.#demands.get(key);
    if (known?.answered === true) return 'answered';
    if (known !== undefined) {
      known.waiters.push(wake);
      return { subscribe: [], unsubscribe: [] };
    }
    const unsubscribe = this.#demands.size >= MAX_DEMANDED ? this.#letGoOldest() : [];
    this.#demands.set(key, { answered: false, waiters: [wake] });
    return { subscribe: [key], unsubscribe };
  }

  /** Who stopped waiting is not kept. */
  forgetWaiter(key: string, wake: () => void): void {
    const demand = this.#demands.get(key);
    if (demand !== undefined) demand.waiters = demand.waiters.filter((other) => other !== wake);
  }

  #letGoOldest(): readonly string[] {
    for (const [key, { answered }] of this.#demands) {
      if (!answered || this.#versions.has(key)) continue;
      this.#demands.delete(key);
      return [key];
    }
    return [];
  }
}
