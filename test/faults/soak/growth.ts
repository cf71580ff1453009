/** What a process has, at a time of the monotonic clock. */
export type Sample = Readonly<{
  atMs: number;
  pid: number;
  privateBytes: number;
  descriptors: number;
}>;

export type GrowthLimits = Readonly<{ bytesPerMinute: number; descriptorsPerMinute: number }>;

/** A process fills its caches and compiles what is hot in the beginning. */
const WARM_UP_MS = 60_000;
/** A slope over less says nothing: the collector takes its time. */
const SHORTEST_MS = 5 * 60_000;
const MINUTE_MS = 60_000;

/** A sentence for each process whose memory or descriptors grow faster than allowed, by the line through its samples. */
export function findGrowth(
  part: string,
  samples: readonly Sample[],
  limits: GrowthLimits,
): string[] {
  const complaints: string[] = [];
  for (const [pid, ofOne] of Map.groupBy(samples, (sample) => sample.pid)) {
    const firstMs = ofOne[0]?.atMs ?? 0;
    const warm = ofOne.filter(({ atMs }) => atMs - firstMs >= WARM_UP_MS);
    if ((warm.at(-1)?.atMs ?? 0) - firstMs < WARM_UP_MS + SHORTEST_MS) continue;
    const bytes = slope(warm, ({ privateBytes }) => privateBytes);
    const descriptors = slope(warm, (sample) => sample.descriptors);
    if (bytes > limits.bytesPerMinute)
      complaints.push(`${part} (${pid}) grows by ${Math.round(bytes / 1024)} KiB a minute`);
    if (descriptors > limits.descriptorsPerMinute)
      complaints.push(`${part} (${pid}) opens ${descriptors.toFixed(1)} descriptors a minute`);
  }
  return complaints;
}

/** Of the line with the least squares, per minute. */
function slope(samples: readonly Sample[], valueOf: (sample: Sample) => number): number {
  const meanOf = (get: (sample: Sample) => number): number =>
    samples.reduce((sum, sample) => sum + get(sample), 0) / samples.length;
  const [meanMs, meanValue] = [meanOf(({ atMs }) => atMs), meanOf(valueOf)];
  let [products, squares] = [0, 0];
  for (const sample of samples) {
    products += (sample.atMs - meanMs) * (valueOf(sample) - meanValue);
    squares += (sample.atMs - meanMs) ** 2;
  }
  return squares === 0 ? 0 : (products / squares) * MINUTE_MS;
}
