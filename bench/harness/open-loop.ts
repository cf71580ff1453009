import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { ClockTask } from './open-loop-clock.ts';

const CLOCK = new URL('./open-loop-clock.ts', import.meta.url);

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
 * An open-loop generator: sends at fixed times, whether answers came or not, from when its clock is ready. Node's own timers
 * are right to a millisecond only, so a thread that sleeps in the kernel keeps the time and calls this one.
 *
 * @returns when the last request has been sent.
 */
export async function runOpenLoop({ rate, count, send }: OpenLoopOptions): Promise<void> {
  const intervalMs = 1000 / rate;
  const workerData: ClockTask = { intervalMs, count };
  const clock = new Worker(CLOCK, { workerData });
  try {
    // Not before the clock runs: what is due while its thread starts would all be late.
    const [startAtMs] = (await once(clock, 'message')) as [number];
    const startMs = startAtMs - performance.timeOrigin;
    const done = Promise.withResolvers<undefined>();
    clock.on('error', done.reject);
    let sent = 0;
    clock.on('message', () => {
      // All that are due: one wake-up may stand for several.
      const due = Math.min(count, Math.floor((performance.now() - startMs) / intervalMs) + 1);
      for (; sent < due; sent++) send(sent, startMs + sent * intervalMs);
      if (sent >= count) done.resolve(undefined);
    });
    await done.promise;
  } finally {
    await clock.terminate();
  }
}
