import type { ObjectKey } from '../mesh/kubernetes/object.ts';
import type { KubernetesObject } from '../mesh/kubernetes/resources.ts';
import type { ChangeSet } from './sources/source.ts';

/** How long changes are joined after one was let through; istio/istio PILOT_DEBOUNCE_AFTER. */
export const JOIN_MS = 100;

/** Lets the first change after a quiet time through at once, and joins what follows within 100 ms into one. */
export class ChangeJoiner implements Disposable {
  readonly #onChange: (changes: ChangeSet) => void;
  readonly #joinMs: number;
  readonly #waiting = new Map<ObjectKey, KubernetesObject | undefined>();
  #timer: NodeJS.Timeout | undefined;

  constructor(onChange: (changes: ChangeSet) => void, joinMs = JOIN_MS) {
    this.#onChange = onChange;
    this.#joinMs = joinMs;
  }

  add({ upserts, removals }: ChangeSet): void {
    for (const key of removals) this.#waiting.set(key, undefined);
    for (const object of upserts) this.#waiting.set(object.key, object);
    if (this.#timer === undefined) this.flush();
  }

  /** Lets through what is waiting. */
  flush(): void {
    if (this.#waiting.size === 0) return;
    const upserts: KubernetesObject[] = [];
    const removals: ObjectKey[] = [];
    for (const [key, object] of this.#waiting)
      if (object === undefined) removals.push(key);
      else upserts.push(object);
    this.#waiting.clear();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.flush();
    }, this.#joinMs);
    this.#onChange({ upserts, removals });
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#waiting.clear();
  }
}
