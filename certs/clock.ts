/** Time for what waits; tests move it by hand. */
export type Clock = Readonly<{
  /** Milliseconds since the epoch. */
  now: () => number;
  /** Runs `task` once, after that many milliseconds, unless the answer is called before. */
  schedule: (delayMs: number, task: () => void) => () => void;
  /** From 0 up to, not including, 1. */
  random: () => number;
}>;

/** The machine's; a waiting task does not keep the process alive. */
export const systemClock: Clock = {
  now: Date.now,
  schedule: (delayMs, task) => {
    const timer = setTimeout(task, delayMs).unref();
    return () => {
      clearTimeout(timer);
    };
  },
  random: Math.random,
};
