import { readdirSync, readFileSync } from 'node:fs';

/** What this process alone has written to, in bytes: the kernel's Private_Dirty. */
export function privateDirtyBytes(): number {
  const rollup = readFileSync('/proc/self/smaps_rollup', 'utf8');
  const [, kibibytes] = /^Private_Dirty:\s+(\d+) kB$/m.exec(rollup) ?? [];
  if (kibibytes === undefined) throw new Error('Cannot read the private memory of this process');
  return Number(kibibytes) * 1024;
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
