import { parentPort, workerData } from 'node:worker_threads';

/*
 * The clock of an open-loop generator: says when it begins, then sleeps until each time and says so. Atomics.wait() sleeps
 * to the microsecond (less the kernel's timer slack of 50 us), and costs a wake-up instead of a processor.
 */

export type ClockTask = Readonly<{ intervalMs: number; count: number }>;

/** From the first message to the first tick: time for the thread that sends to hear of it. */
const LEAD_MS = 5;

const { intervalMs, count } = workerData as ClockTask;
const sleeper = new Int32Array(new SharedArrayBuffer(4));
const startAtMs = nowMs() + LEAD_MS;
parentPort?.postMessage(startAtMs);
for (let tick = 0; tick < count; tick++) {
  const leftMs = startAtMs + tick * intervalMs - nowMs();
  if (leftMs > 0) Atomics.wait(sleeper, 0, 0, leftMs);
  parentPort?.postMessage(tick);
}
// A wake-up that came a little early left its request for the next one; the last has none.
Atomics.wait(sleeper, 0, 0, 2);
parentPort?.postMessage(count);

/** Of a clock that all threads share. */
function nowMs(): number {
  return performance.timeOrigin + performance.now();
}
