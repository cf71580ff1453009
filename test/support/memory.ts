import { readdirSync, readFileSync } from 'node:fs';
import type { ExecutionContext } from 'ava';

const PAGE_BYTES = 4096;
/** A runtime's own steps come now and then; three in stretches that double are a leak. */
const STRETCHES = 3;

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

/** What is reachable in the heap, in bytes; objects with finalizers need several rounds to go. */
export async function heapBytes(): Promise<number> {
  for (let round = 0; round < 3; round++) await collectGarbage();
  return process.memoryUsage().heapUsed;
}

/**
 * Growth for each time that something was done, in bytes, of stretches of work up to one that is below `flatBytes`. A leak
 * grows in every stretch, while what a runtime keeps for itself, such as compiled code, comes in steps. Each stretch is twice
 * as long as the one before, so that a table that doubles now and then grows in each of them too.
 */
export async function growthUntilFlat(
  growthOfStretch: (factor: number) => Promise<number>,
  flatBytes: number,
): Promise<readonly number[]> {
  const growth: number[] = [];
  while (growth.length < STRETCHES && !growth.some((bytes) => bytes < flatBytes))
    growth.push(await growthOfStretch(2 ** growth.length));
  return growth;
}

/**
 * Fails when each of several stretches of work left something in the heap. The work is done `times` times first, for what is
 * made once, and as often again where it leaves nothing.
 */
export async function expectNoLeak(
  t: ExecutionContext,
  work: (times: number) => Promise<void>,
  { times, flatBytes }: Readonly<{ times: number; flatBytes: number }>,
): Promise<void> {
  await work(times);
  const growth = await growthUntilFlat(async (factor) => {
    const before = await heapBytes();
    await work(times * factor);
    return ((await heapBytes()) - before) / (times * factor);
  }, flatBytes);
  const said = `bytes each: ${growth.map((bytes) => bytes.toFixed(1)).join(', ')}`;
  t.log(said);
  t.true((growth.at(-1) ?? Infinity) < flatBytes, said);
}
