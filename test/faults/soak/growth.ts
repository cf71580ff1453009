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
/**
 * What a process may gain in its life before its memory counts as growing: in its first minutes the collector leaves more lying
 * about than a leak of the limit would add. A ztunnel under load was seen to rise from 64 to 87 MiB and then to stay between
 * 76 and 87 for half an hour. The longer one lives, the nearer what passes is to the limit: a soak of an hour has processes that
 * live for forty minutes of it.
 */
const COLLECTOR_SLACK_BYTES = 24 << 20;
/**
 * The same of descriptors: sessions beside a silent one, and connections that a fault has left half open, are there for
 * a while. A ztunnel was seen to have 84 to 103 sockets, up and down, in six minutes in which nothing grew.
 */
const DESCRIPTOR_SLACK = 16;
/**
 * What a process keeps is the least that it has in such a time. Where servers or proxies are stopped for 30 s hundreds
 * of connections pile up, and are gone soon after.
 */
const WINDOW_MS = MINUTE_MS;

/**
 * A sentence for each process that keeps more and more memory or descriptors: by the median of the slopes between the
 * least values of any two minutes.
 */
export function findGrowth(
  part: string,
  samples: readonly Sample[],
  limits: GrowthLimits,
): string[] {
  const complaints: string[] = [];
  for (const [pid, ofOne] of Map.groupBy(samples, (sample) => sample.pid)) {
    const firstMs = ofOne[0]?.atMs ?? 0;
    const warm = ofOne.filter(({ atMs }) => atMs - firstMs >= WARM_UP_MS);
    const warmMs = (warm.at(-1)?.atMs ?? 0) - firstMs - WARM_UP_MS;
    if (warmMs < SHORTEST_MS) continue;
    const bytes = slope(floors(warm, ({ privateBytes }) => privateBytes));
    const leastDescriptors = floors(warm, ({ descriptors }) => descriptors);
    const descriptors = slope(leastDescriptors);
    const gainedBytes = (bytes * warmMs) / MINUTE_MS;
    if (bytes > limits.bytesPerMinute && gainedBytes > COLLECTOR_SLACK_BYTES)
      complaints.push(`${part} (${pid}) grows by ${Math.round(bytes / 1024)} KiB a minute`);
    const gainedDescriptors = (descriptors * warmMs) / MINUTE_MS;
    if (descriptors > limits.descriptorsPerMinute && gainedDescriptors > DESCRIPTOR_SLACK)
      complaints.push(
        `${part} (${pid}) opens ${descriptors.toFixed(1)} descriptors a minute: ${leastDescriptors.map(({ value }) => value).join(', ')}`,
      );
  }
  return complaints;
}

type Floor = Readonly<{ minute: number; value: number }>;

/** The least value of each window. */
function floors(samples: readonly Sample[], valueOf: (sample: Sample) => number): Floor[] {
  const firstMs = samples[0]?.atMs ?? 0;
  const windows = Map.groupBy(samples, ({ atMs }) => Math.floor((atMs - firstMs) / WINDOW_MS));
  return [...windows].map(([window, inIt]) => ({
    minute: (window * WINDOW_MS) / MINUTE_MS,
    value: Math.min(...inIt.map(valueOf)),
  }));
}

/** Per minute. */
function slope(of: readonly Floor[]): number {
  const slopes = of.flatMap((one, index) =>
    of.slice(index + 1).map((other) => (other.value - one.value) / (other.minute - one.minute)),
  );
  const sorted = slopes.toSorted((a, b) => a - b);
  const [low = 0, high = 0] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  return (low + high) / 2;
}
