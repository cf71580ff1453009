import { setImmediate as turn } from 'node:timers/promises';
import type { Clock } from '../../certs/clock.ts';

/** Time that moves when it is told to; tasks run when it has moved past them. */
export class HandClock implements Clock {
  #now: number;
  #tasks: { atMs: number; run: () => void }[] = [];

  constructor(startMs: number) {
    this.#now = startMs;
  }

  readonly now = (): number => this.#now;
  readonly random = (): number => 0.5;
  readonly schedule = (delayMs: number, run: () => void): (() => void) => {
    const task = { atMs: this.#now + delayMs, run };
    this.#tasks.push(task);
    return () => {
      this.#tasks = this.#tasks.filter((other) => other !== task);
    };
  };

  /** The machine slept: time has gone by, and no timer has run yet. */
  jump(byMs: number): void {
    this.#now += byMs;
  }

  /** Somebody sets the clock: timers, which go by another one, run when they would have run. */
  set(byMs: number): void {
    this.#now += byMs;
    for (const task of this.#tasks) task.atMs += byMs;
  }

  async advance(byMs: number): Promise<void> {
    const end = this.#now + byMs;
    for (;;) {
      const next = this.#tasks.toSorted((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined || next.atMs > end) break;
      this.#now = Math.max(this.#now, next.atMs);
      this.#tasks = this.#tasks.filter((other) => other !== next);
      next.run();
      await turn();
    }
    this.#now = end;
    await turn();
  }
}
