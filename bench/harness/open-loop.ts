import { Worker } from 'node:worker_threads';

const CLOCK = new URL('./open-loop-clock.ts', import.meta.url);
/** Time for the clock to begin. */
const LEAD_MS = 30;

export type OpenLoopOptions = Readonly<{
  /** A second. */
  rate: number;
  count: number;
  /**
   * Sends one request; `intendedMs` is when it was due, by performance.now() of this thread. Latency counts from there:
   * a sender that was held up by a slow answer would else leave out just the requests that had to wait.
   */
  send(index: number, intendedMs: number): void;
}>;

/**
 * An open-loop generator: sends at fixed times, whether answers came or not. Node's own timers are right to a
 * millisecond only, so a thread that sleeps in the kernel keeps the time and calls this one.
 *
 * @returns when the last request has been sent.
 */
export async function runOpenLoop({ rate, count, send }: OpenLoopOptions): Promise<void> {
  const intervalMs = 1000 / rate;
  const startMs = performance.now() + LEAD_MS;
  let sent = 0;
  const done = Promise.withResolvers<undefined>();
  const clock = new Worker(CLOCK, {
    workerData: { startAtMs: performance.timeOrigin + startMs, intervalMs, count },
  });
  clock.on('message', () => {
    // All that are due: one wake-up may stand for several.
    const due = Math.min(count, Math.floor((performance.now() - startMs) / intervalMs) + 1);
    for (; sent < due; sent++) send(sent, startMs + sent * intervalMs);
    if (sent >= count) done.resolve(undefined);
  });
  clock.on('error', done.reject);
  try {
    await done.promise;
  } finally {
    await clock.terminate();
  }
}
