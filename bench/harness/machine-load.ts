import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';

/** Looked at for so long before a run. */
const LOOK_MS = 2000;
/** A machine of which others use more than this part is busy: figures would move by more than the budgets differ. */
const MAX_BUSY = 0.08;

export type MachineLoad = Readonly<{
  /** The part of all processors that was not idle, 0 to 1. */
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

type ProcessorTimes = Readonly<{ idle: number; total: number }>;

/** The first line of /proc/stat: user nice system idle iowait irq softirq steal ... (proc(5)). */
export function parseProcessorTimes(text: string): ProcessorTimes {
  const fields = /^cpu +(.*)$/m.exec(text)?.[1]?.split(' ').map(Number).slice(0, 8) ?? [];
  const total = fields.reduce((sum, field) => sum + field, 0);
  return { idle: (fields[3] ?? 0) + (fields[4] ?? 0), total };
}

export function busyPart(before: ProcessorTimes, after: ProcessorTimes): number {
  const total = after.total - before.total;
  return total <= 0 ? 0 : 1 - (after.idle - before.idle) / total;
}

function readProcessorTimes(): ProcessorTimes {
  return parseProcessorTimes(readFileSync('/proc/stat', 'utf8'));
}
