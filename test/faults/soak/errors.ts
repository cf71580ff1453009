import type { Attempt } from '../../support/tagged-load.ts';
import { TOPOLOGIES } from '../fault.ts';
import type { LoadReports } from '../loads.ts';
import { RECOVERY_MS } from '../round.ts';

/** A time of the monotonic clock in which connections may break: a fault, and the second that the mesh has to recover. */
type Window = { beganMs: number; endedMs: number };

/** Enough to see what it is. */
const KEPT = 20;

/** Tells errors that a fault explains from those that nothing does. */
export class ErrorLedger {
  #windows: Window[] = [];
  /** Not judged yet: the fault that explains them may not be over. */
  #pending: { topology: string; attempt: Attempt }[] = [];
  complete = 0;
  explained = 0;
  readonly unexplained: string[] = [];
  readonly wrong: string[] = [];

  /** @returns how to say that the fault is over. */
  faultBegins(nowMs: number): (nowMs: number) => void {
    const window = { beganMs: nowMs, endedMs: Infinity };
    this.#windows.push(window);
    return (endedMs) => {
      window.endedMs = endedMs + RECOVERY_MS;
    };
  }

  add(reports: LoadReports, explains: RegExp | undefined): void {
    for (const topology of TOPOLOGIES) {
      const report = reports.get(topology);
      if (report === undefined) continue;
      this.complete += report.complete.length;
      this.wrong.push(...report.wrong.filter((text) => explains?.test(text) !== true));
      this.#pending.push(...report.errors.map((attempt) => ({ topology, attempt })));
    }
  }

  /** Judges what is known so far; between faults. */
  judge(): void {
    for (const { topology, attempt } of this.#pending) {
      // Whoever was there at any time of a fault may have been hit by it.
      const hit = this.#windows.some(
        ({ beganMs, endedMs }) => attempt.beganMs <= endedMs && attempt.endedMs >= beganMs,
      );
      if (hit) this.explained++;
      else if (this.unexplained.length < KEPT)
        this.unexplained.push(`${topology}: ${attempt.how} ${JSON.stringify(attempt)}`);
    }
    this.#pending = [];
    // Connections that old are over, or hang, which is told otherwise.
    this.#windows = this.#windows.slice(-KEPT);
  }
}
