/**
 * Whether the runs of this folder have the size that is promised (`HALO_FULL=1`), or a smaller one with the same
 * assertions, for every change.
 */
export const FULL_SIZE = process.env['HALO_FULL'] === '1';

/** A size of a run: the one that is promised, or the smaller one. */
export function sized(full: number, small: number): number {
  return FULL_SIZE ? full : small;
}

/** For `t.log()`: the least, the middle, the 95th of 100 and the greatest, rounded. */
export function spread(values: readonly number[]): string {
  const at = (part: number): number => Math.round(rankOf(values, part));
  return `min ${at(0)}, p50 ${at(0.5)}, p95 ${at(0.95)}, max ${at(1)}`;
}

/** The least value that so great a part of all, 0 to 1, does not exceed. */
function rankOf(values: readonly number[], part: number): number {
  const sorted = values.toSorted((one, other) => one - other);
  return sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? Infinity;
}
