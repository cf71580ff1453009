import { parentPort, workerData } from 'node:worker_threads';

/*
 * The clock of an open-loop generator: sleeps until each time and says so. Atomics.wait() sleeps to the microsecond
 * (less the kernel's timer slack of 50 us), and costs a wake-up instead of a processor.
 */

type ClockTask = Readonly<{ startAtMs: number; intervalMs: number; count: number }>;

const { startAtMs, intervalMs, count } = workerData as ClockTask;
const sleeper = new Int32Array(new SharedArrayBuffer(4));
for (let tick = 0; tick < count; tick++) {
  const leftMs = startAtMs + tick * intervalMs - (performance.timeOrigin + performance.now());
  if (leftMs > 0) Atomics.wait(sleeper, 0, 0, leftMs);
  parentPort?.postMessage(tick);
}
// A wake-up that came a little early left its request for the next one; the last has none.
Atomics.wait(sleeper, 0, 0, 2);
parentPort?.postMessage(count);
