import { readdirSync, readFileSync } from 'node:fs';

const PAGE_BYTES = 4096;

/** What this process alone has written to, in bytes: the kernel's Private_Dirty. */
export function privateDirtyBytes(): number {
  const rollup = readFileSync('/proc/self/smaps_rollup', 'utf8');
  const [, kibibytes] = /^Private_Dirty:\s+(\d+) kB$/m.exec(rollup) ?? [];
  if (kibibytes === undefined) throw new Error('Cannot read the private memory of this process');
  return Number(kibibytes) * 1024;
}

/** All that this process has mapped, used or not, in bytes. */
export function addressSpaceBytes(): number {
  const [pages = ''] = readFileSync('/proc/self/statm', 'utf8').split(' ');
  return Number(pages) * PAGE_BYTES;
}

/**
 * By how much samples of a steady state grew. Single ones jump by what an allocator keeps for a while: compared are the
 * medians of the first and the last quarter.
 */
export function medianGrowth(samples: readonly number[]): number {
  const part = Math.max(1, Math.floor(samples.length / 4));
  return median(samples.slice(-part)) - median(samples.slice(0, part));
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

/** How many descriptors this process has open. */
export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Collects all garbage, with what finalizers do afterwards. */
export async function collectGarbage(): Promise<void> {
  const { gc } = globalThis;
  if (gc === undefined) throw new Error('Cannot collect garbage: run with --expose-gc');
  await gc({ execution: 'async', type: 'major' });
}
