import type { ObjectKey } from '../mesh/kubernetes/object.ts';
import type { KubernetesObject } from '../mesh/kubernetes/resources.ts';
import type { ChangeSet, FetchedKeys } from './sources/source.ts';

/** In the long run a change set goes through once in this time; istio/istio PILOT_DEBOUNCE_AFTER. */
export const JOIN_MS = 100;
/**
 * How many may follow each other faster than that after a quiet time: a pod that starts makes about six changes within
 * a tenth of a second, and the last is the one that is waited for.
 */
const BURST = 20;
/** In a burst: what one cause changes in several objects is mostly there by then. */
const BURST_PART = 1 / 20;

/**
 * Lets the first change after a quiet time through at once, and joins what follows within a few milliseconds; where there
 * is no end of changes, what comes within 100 ms.
 */
export class ChangeJoiner implements Disposable {
  readonly #onChange: (changes: ChangeSet) => void | Promise<void>;
  #busy: Promise<void> | undefined;
  readonly #joinMs: number;
  readonly #waiting = new Map<ObjectKey, KubernetesObject | undefined>();
  readonly #keys: FetchedKeys[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** How many change sets may go through without waiting for their share of time; one more comes each `joinMs`. */
  #left = BURST;
  #lastMs = 0;

  /** @param onChange takes a change; while it is at work the next ones wait. It does not reject. */
  constructor(onChange: (changes: ChangeSet) => void | Promise<void>, joinMs = JOIN_MS) {
    this.#onChange = onChange;
    this.#joinMs = joinMs;
  }

  add({ upserts, removals, keys = [] }: ChangeSet): void {
    this.#keys.push(...keys);
    for (const key of removals) this.#waiting.set(key, undefined);
    for (const object of upserts) this.#waiting.set(object.key, object);
    if (this.#timer === undefined) void this.flush();
  }

  /** Lets through what is waiting; resolves when it has been taken, and what was let through before. */
  async flush(): Promise<void> {
    while (this.#busy !== undefined) await this.#busy;
    if (this.#waiting.size === 0 && this.#keys.length === 0) return;
    const upserts: KubernetesObject[] = [];
    const removals: ObjectKey[] = [];
    for (const [key, object] of this.#waiting)
      if (object === undefined) removals.push(key);
      else upserts.push(object);
    this.#waiting.clear();
    const keys = this.#keys.splice(0);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.flush();
    }, this.#takeTurn());
    const work = this.#onChange({ upserts, removals, ...(keys.length > 0 && { keys }) });
    if (work === undefined) return;
    this.#busy = work.finally(() => {
      this.#busy = undefined;
    });
    await this.#busy;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#waiting.clear();
    this.#keys.length = 0;
  }

  /** @returns how long the next one has to wait, in ms. */
  #takeTurn(): number {
    const nowMs = performance.now();
    const earned = (nowMs - this.#lastMs) / this.#joinMs;
    this.#lastMs = nowMs;
    this.#left = Math.max(0, Math.min(BURST, this.#left + earned) - 1);
    return this.#joinMs * Math.max(BURST_PART, 1 - this.#left);
  }
}
