import type { Attempt } from '../../support/tagged-load.ts';
import { TOPOLOGIES, type Fault } from '../fault.ts';
import type { LoadReports } from '../loads.ts';

/** A time of the monotonic clock in which connections may break: a fault, and the second that the mesh has to recover. */
type Window = { beganMs: number; endedMs: number; fault: Fault };

/** Enough to see what it is. */
const KEPT = 20;

/** Tells errors that a fault explains from those that nothing does. */
export class ErrorLedger {
  readonly #recoveryMs: number;
  #windows: Window[] = [];
  /** Not judged yet: the fault that explains them may not be over. */
  #pending: { topology: string; attempt: Attempt }[] = [];
  complete = 0;
  explained = 0;
  readonly unexplained: string[] = [];
  readonly wrong: string[] = [];

  /** @param recoveryMs how long after its end a fault explains what breaks. */
  constructor(recoveryMs: number) {
    this.#recoveryMs = recoveryMs;
  }

  /** @returns how to say that the fault is over. */
  faultBegins(fault: Fault, nowMs: number): (nowMs: number) => void {
    const window = { beganMs: nowMs, endedMs: Infinity, fault };
    this.#windows.push(window);
    return (endedMs) => {
      window.endedMs = endedMs + this.#recoveryMs;
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
      if (this.#windows.some((window) => explains(window, attempt))) this.explained++;
      else if (this.unexplained.length < KEPT)
        this.unexplained.push(`${topology}: ${attempt.how}, ${this.#since(attempt)}`);
    }
    this.#pending = [];
    // Connections that old are over, or hang, which is told otherwise.
    this.#windows = this.#windows.slice(-KEPT);
  }

  /** When it was, by the last fault before it. */
  #since({ beganMs, heardMs, endedMs, local }: Attempt): string {
    const last = this.#windows.findLast((window) => window.beganMs <= endedMs);
    if (last === undefined) return 'before any fault';
    const [began, heard, ended] = [beganMs, heardMs, endedMs].map(
      (ms) => `${Math.round(ms - last.beganMs)} ms`,
    );
    return `${local}: began ${began} after the begin of "${last.fault.name}", heard ${heard}, ended ${ended}`;
  }
}

/** Whoever was there at any time of a fault may have been broken by it; only some faults may leave one waiting. */
function explains({ beganMs, endedMs, fault }: Window, attempt: Attempt): boolean {
  if (attempt.how === 'silent' && fault.leavesHalfOpen === undefined) return false;
  return attempt.beganMs <= endedMs && attempt.endedMs >= beganMs;
}
