import type { Clock } from '../../net/clock.ts';

/** Time that stands still until a test moves it. */
export function makeH2Clock(): Clock & {
  advance: (ms: number) => void;
  /** How many wait. */
  timers: () => number;
} {
  let now = 0;
  const timers = new Set<{ at: number; run: () => void }>();
  return {
    now: () => now,
    after(ms, run) {
      const timer = { at: now + ms, run };
      timers.add(timer);
      return () => {
        timers.delete(timer);
      };
    },
    timers: () => timers.size,
    advance(ms) {
      now += ms;
      for (const timer of [...timers]) if (timer.at <= now && timers.delete(timer)) timer.run();
    },
  };
}
