import { performance } from 'node:perf_hooks'; // the global of that name is a getter

/** Time, as a connection sees it; a test puts its own in the place. */
export interface Clock {
  /** Milliseconds, from anywhere, never going back. */
  now(): number;
  /** Runs once after `ms`; returns how to prevent it. */
  after(ms: number, run: () => void): () => void;
}

/** What was read in this turn; 0: not yet. */
let turnMs = 0;
let inTurn = false;

/** The reactor's: until endTurn() the system's clock stands still, once it was read. */
export function beginTurn(): void {
  inTurn = true;
  turnMs = 0;
}

export function endTurn(): void {
  inTurn = false;
  turnMs = 0;
}

function read(): number {
  const nowMs = performance.now();
  if (inTurn) turnMs = nowMs;
  return nowMs;
}

/**
 * The system's; a timer of it keeps no process alive. It is read once in a turn of the reactor: each reading takes some 50 ns,
 * and each request or message had several. So it may be late by what a turn takes.
 */
export const systemClock: Clock = {
  now: () => (turnMs > 0 ? turnMs : read()),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    timer.unref();
    return () => {
      clearTimeout(timer);
    };
  },
};
