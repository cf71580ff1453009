import { releaseMemory } from './release-memory.ts';

/** So much processor time leaves something behind: it is what the start of a thread takes. */
const WORK_MS = 300;
/** Of one processor: with less to do, a thread may stop for some milliseconds. */
const QUIET_SHARE = 0.01;
const LOOK_MS = 10_000;
/** A look that comes so much too late says that the process was stopped or the machine asleep, and what waits now is much. */
const LATE_MS = 1_000;
/** However often work begins and ends, the thread stops for it once a minute at the most. */
const REST_MS = 60_000;

export type QuietOptions = Readonly<{
  lookMs?: number;
  lateMs?: number;
  restMs?: number;
  /** Processor time of this thread so far, in milliseconds. */
  worked?: () => number;
  release?: () => void;
}>;

/**
 * Gives this thread's memory back, by releaseMemory(), when it has worked and has now had nearly nothing to do for 10 s:
 * V8 collects no more than what is allocated asks for, and so keeps the garbage of the last rush for as long as nothing
 * follows; the C library keeps what compiling has taken. Stops when disposed.
 */
export function releaseWhenQuiet(options: QuietOptions = {}): Disposable {
  const { lookMs = LOOK_MS, lateMs = LATE_MS, restMs = REST_MS } = options;
  const { worked = threadTimeMs, release = releaseMemory } = options;
  let restedMs = -Infinity;
  let workedAtRelease = 0;
  let workedBefore = worked();
  let lookedMs = performance.now();
  const timer = setInterval(() => {
    const nowMs = performance.now();
    const workedNow = worked();
    const tookMs = nowMs - lookedMs;
    const share = (workedNow - workedBefore) / tookMs;
    workedBefore = workedNow;
    lookedMs = nowMs;
    const isQuiet = share < QUIET_SHARE && tookMs < lookMs + lateMs;
    if (!isQuiet || workedNow - workedAtRelease < WORK_MS || nowMs < restedMs) return;
    restedMs = nowMs + restMs;
    release();
    workedBefore = worked();
    workedAtRelease = workedBefore;
  }, lookMs);
  timer.unref();
  return {
    [Symbol.dispose]: () => {
      clearInterval(timer);
    },
  };
}

function threadTimeMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}
