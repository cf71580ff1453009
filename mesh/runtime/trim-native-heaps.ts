import { trimNativeHeap } from '../../net/native-heap.ts';

/** How often a process that works is trimmed: some milliseconds of these, so that 999 of 1,000 requests meet none of it. */
const EVERY_MS = 20_000;
/** With less processor time than this since the last time, nothing was left behind. */
const WORK_MS = 1_000;

export type TrimOptions = Readonly<{ everyMs?: number; trim?: () => void }>;

/**
 * Gives free native memory of the process back every 20 s while it works; for the control thread. Compiling takes tens of
 * megabytes of it for a moment, in the first minutes of each kind of load, and the C library keeps what is not the last of a
 * heap. Takes some milliseconds, in which a thread that wants memory of the heap that is looked at waits. Stops when disposed.
 */
export function trimNativeHeapsRegularly(options: TrimOptions = {}): Disposable {
  const { everyMs = EVERY_MS, trim = trimNativeHeap } = options;
  let workedMs = processTimeMs();
  const timer = setInterval(() => {
    const nowMs = processTimeMs();
    if (nowMs - workedMs < WORK_MS) return;
    workedMs = nowMs;
    trim();
  }, everyMs);
  timer.unref();
  return {
    [Symbol.dispose]: () => {
      clearInterval(timer);
    },
  };
}

function processTimeMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
