import { sessionTally } from '../../net/session-tally.ts';
import { releaseMemory } from './release-memory.ts';

/** Ended since the last release: at 40 KiB each and more, fewer have left little behind. */
const MANY_SESSIONS = 1000;
/** So many between two looks, and the end of the flood is still to come. */
const STILL_ENDING = MANY_SESSIONS / 10;
/** How often the sessions are counted. */
const LOOK_MS = 10_000;
/** However many come and go, the thread stops for it once a minute at the most. */
const REST_MS = 60_000;

export type ReleaseOptions = Readonly<{
  lookMs?: number;
  restMs?: number;
  release?: () => void;
}>;

/**
 * Gives this thread's memory back, by releaseMemory(), when many TLS sessions have ended and less than half of what there
 * was is left: neither V8 nor the C library does so by itself for a long time. Stops when disposed.
 */
export function releaseAfterFloods(options: ReleaseOptions = {}): Disposable {
  const { lookMs = LOOK_MS, restMs = REST_MS, release = releaseMemory } = options;
  let restedMs = -Infinity;
  let endedBefore = 0;
  const timer = setInterval(() => {
    const { open, most, ended } = sessionTally;
    const nowMs = performance.now();
    const endedSince = ended - endedBefore;
    endedBefore = ended;
    if (endedSince >= STILL_ENDING) return;
    if (ended < MANY_SESSIONS || open >= most / 2 || nowMs < restedMs) return;
    restedMs = nowMs + restMs;
    sessionTally.forget();
    endedBefore = 0;
    release();
  }, lookMs);
  timer.unref();
  return {
    [Symbol.dispose]: () => {
      clearInterval(timer);
    },
  };
}
