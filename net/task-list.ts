import type { TurnTask } from './turn-task.ts';

/** After a burst no more places are kept than this. */
const KEPT_PLACES = 1024;

/**
 * Tasks of one turn, in the order in which they came; it may grow while they are run. Its places are used again and again: V8
 * empties an array by a call into C++ that frees them, and allocates them anew with the first task of the next turn.
 */
export class TaskList {
  #places: (TurnTask | undefined)[] = [];
  #count = 0;

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  add(task: TurnTask): void {
    this.#places[this.#count++] = task;
  }

  /** The task at `index`, which leaves the list; undefined behind the last one. */
  take(index: number): TurnTask | undefined {
    if (index >= this.#count) return undefined;
    const task = this.#places[index];
    this.#places[index] = undefined;
    return task;
  }

  /** Begins anew, once all tasks have been taken. */
  restart(): void {
    this.#count = 0;
    if (this.#places.length > KEPT_PLACES) this.#places = [];
  }
}
