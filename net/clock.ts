/** Time, as a connection sees it; a test puts its own in the place. */
export interface Clock {
  /** Milliseconds, from anywhere, never going back. */
  now(): number;
  /** Runs once after `ms`; returns how to prevent it. */
  after(ms: number, run: () => void): () => void;
}

/** The system's; a timer of it keeps no process alive. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, run) {
    const timer = setTimeout(run, ms);
    timer.unref();
    return () => {
      clearTimeout(timer);
    };
  },
};
