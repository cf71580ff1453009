import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { OwnTime } from './own-time.ts';

/** Looked at for so long before a run. */
const LOOK_MS = 2000;
/** A machine of which others use more than this part is busy: figures would move by more than the budgets differ. */
const MAX_BUSY = 0.08;

export type MachineLoad = Readonly<{
  /** The part of all processors that was not idle, or that others used, 0 to 1. */
  busy: number;
  quiet: boolean;
}>;

/** Looks at how busy the machine is, before a run begins. */
export async function lookAtLoad(lookMs: number = LOOK_MS): Promise<MachineLoad> {
  const before = readProcessorTimes();
  await wait(lookMs);
  const busy = busyPart(before, readProcessorTimes());
  return { busy, quiet: busy <= MAX_BUSY };
}

/** `working`: in processes, the kernel's work for them included; not interrupts, nor what other machines took. */
type ProcessorTimes = Readonly<{ idle: number; working: number; total: number }>;

/** The first line of /proc/stat: user nice system idle iowait irq softirq steal ... (proc(5)). */
export function parseProcessorTimes(text: string): ProcessorTimes {
  const fields = /^cpu +(.*)$/m.exec(text)?.[1]?.split(' ').map(Number).slice(0, 8) ?? [];
  const total = fields.reduce((sum, field) => sum + field, 0);
  const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0] = fields;
  return { idle: idle + iowait, working: user + nice + system, total };
}

export function busyPart(before: ProcessorTimes, after: ProcessorTimes): number {
  const total = after.total - before.total;
  return total <= 0 ? 0 : 1 - (after.idle - before.idle) / total;
}

function readProcessorTimes(): ProcessorTimes {
  return parseProcessorTimes(readFileSync('/proc/stat', 'utf8'));
}

/**
 * Watches what others use from now on, until the answer is asked for: that is after every child of this process has ended,
 * because where there are no control groups their time is known to be ours only then.
 */
export function watchOthers(): () => MachineLoad {
  const own = new OwnTime();
  const before = readProcessorTimes();
  return () => {
    const busy = othersPart(before, readProcessorTimes(), own.ticks());
    own[Symbol.dispose]();
    return { busy, quiet: busy <= MAX_BUSY };
  };
}

/** The part of all processors that others worked on. @param ownTicks that we did. */
export function othersPart(
  before: ProcessorTimes,
  after: ProcessorTimes,
  ownTicks: number,
): number {
  const total = after.total - before.total;
  return total <= 0 ? 0 : Math.max(0, (after.working - before.working - ownTicks) / total);
}
