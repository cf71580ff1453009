/** The value below which the part `q` (0 to 1) of the sorted values lies, interpolated; NaN for none. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const low = sorted[Math.floor(at)];
  const high = sorted[Math.ceil(at)];
  if (low === undefined || high === undefined) return NaN;
  return low + (high - low) * (at - Math.floor(at));
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Half the distance between the quartiles as a part of the median: 0.02 means that most rounds lie within 2 %. */
export function spread(values: readonly number[]): number {
  const middle = median(values);
  if (middle === 0) return 0;
  return Math.abs((quantile(values, 0.75) - quantile(values, 0.25)) / 2 / middle);
}

/** Up to this many values in all, every way of dealing them out is counted; C(20, 10) is 184,756. */
const EXACT_UP_TO = 20;

/**
 * The Mann-Whitney U test, two-sided: how likely two samples at least as far apart are when both come from one
 * distribution. It looks at ranks only, so one outlier among the rounds decides nothing. Exact for up to 20 values
 * without ties, else by the normal approximation with ties corrected.
 *
 * @returns p, 0 to 1; 1 when a sample is empty.
 */
export function mannWhitney(a: readonly number[], b: readonly number[]): number {
  if (a.length === 0 || b.length === 0) return 1;
  const all = [...a, ...b];
  const u = countWins(a, b);
  const distance = Math.abs(u - (a.length * b.length) / 2);
  const tied = new Set(all).size < all.length;
  if (!tied && all.length <= EXACT_UP_TO) return exactP(a.length, b.length, distance);
  return normalP(a.length, b.length, distance, all);
}

/** How many pairs `a` wins, ties being half. */
function countWins(a: readonly number[], b: readonly number[]): number {
  let wins = 0;
  for (const x of a) for (const y of b) wins += x > y ? 1 : x === y ? 0.5 : 0;
  return wins;
}

/** Counts the arrangements with each U: f(m, n, u) = f(m-1, n, u-n) + f(m, n-1, u). */
function exactP(m: number, n: number, distance: number): number {
  const size = m * n + 1;
  let rows: number[][] = Array.from({ length: n + 1 }, () => onlyZero(size));
  for (let first = 1; first <= m; first++) {
    const next: number[][] = [onlyZero(size)];
    for (let second = 1; second <= n; second++) {
      const left = rows[second] ?? [];
      const below = next[second - 1] ?? [];
      next.push(below.map((count, u) => count + (u >= second ? (left[u - second] ?? 0) : 0)));
    }
    rows = next;
  }
  const counts = rows[n] ?? [];
  const total = counts.reduce((sum, count) => sum + count, 0);
  const far = counts.filter((_, u) => Math.abs(u - (m * n) / 2) >= distance - 1e-9);
  return far.reduce((sum, count) => sum + count, 0) / total;
}

function onlyZero(size: number): number[] {
  return Array.from({ length: size }, (_, u) => (u === 0 ? 1 : 0));
}

function normalP(m: number, n: number, distance: number, all: readonly number[]): number {
  const total = m + n;
  const ties = new Map<number, number>();
  for (const value of all) ties.set(value, (ties.get(value) ?? 0) + 1);
  let correction = 0;
  for (const count of ties.values()) correction += count ** 3 - count;
  const variance = ((m * n) / 12) * (total + 1 - correction / (total * (total - 1)));
  if (variance <= 0) return 1;
  const z = Math.max(0, distance - 0.5) / Math.sqrt(variance);
  return Math.min(1, 2 * upperTail(z));
}

/** The upper tail of the normal distribution. Abramowitz and Stegun, 26.2.17: wrong by less than 1e-7. */
function upperTail(z: number): number {
  const t = 1 / (1 + 0.2316419 * z);
  const factors = [0.31938153, -0.356563782, 1.781477937, -1.821255978, 1.330274429];
  const sum = factors.reduceRight((inner, factor) => t * (factor + inner), 0);
  return (Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)) * sum;
}
