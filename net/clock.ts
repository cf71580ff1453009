import { performance } from 'node:perf_hooks'; // the global of that name is a getter

/** Time, as a connection sees it; a test puts its own in the place. */
export interface Clock {
  /** Milliseconds, from anywhere, never going back. */
  now(): number;
  /** Runs once after `ms`; returns how to prevent it. */
  after(ms: number, run: () => void): () => void;
}

/** When this turn began; 0 outside of turns. */
let turnMs = 0;

/** The reactor's: until endTurn() the system's clock stands still. */
export function beginTurn(): void {
  turnMs = performance.now();
}

/** @returns how long the turn was, in milliseconds. */
export function endTurn(): number {
  const tookMs = performance.now() - turnMs;
  turnMs = 0;
  return tookMs;
}

/**
 * The system's; a timer of it keeps no process alive. In a turn of the reactor it is the time of its beginning: each reading takes some
 * 50 ns, and each request or message had several. So it may be late by what a turn takes.
 */
export const systemClock: Clock = {
  now: () => (turnMs > 0 ? turnMs : performance.now()),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    timer.unref();
    return () => {
      clearTimeout(timer);
    };
  },
};
