import type { Balancer, Building } from './balancer.ts';
import type { Endpoint } from './endpoint.ts';
import { hashNumber, hashText, SECOND_SEED } from './hash.ts';

/** Envoy's `max_ring_size`. */
const MAX_RING_SIZE = 8 * 1024 * 1024;
/** Up to so many times the minimum the ring grows with the endpoints, so that few of them share it finely. */
const GROWTH = 16;
/** So many points at least has an endpoint of the greatest weight, however many there are. */
const MIN_POINTS = 16;
/** So many points are hashed, or one bucket is sorted, in a step of the building. */
const POINTS_A_STEP = 4096;
const BUCKET_BITS = 8;
const BUCKETS = 1 << BUCKET_BITS;
/** A hash (32 bits) and a place in its bucket go into one double, which keeps 53. */
const PLACES = 2 ** 21;

/**
 * Endpoints have points on a ring, as many as their weights ask for; a request goes to the first point from its hash on. Of
 * n equal endpoints one that goes moves its own requests, 1/n, and no others as long as the number of points of an endpoint
 * stays: it is the same up to 16 endpoints, and from 1,024 on, and changes by 1/n with each in between. (Envoy spreads
 * `minimumRingSize` over all endpoints, so that each change moves about as much again.)
 */
export class RingHash implements Balancer {
  readonly #endpoints: readonly Endpoint[];
  /** Hashes in order, and whose point each is. */
  readonly #points: Int32Array;
  readonly #owners: Int32Array;

  private constructor(endpoints: readonly Endpoint[], points: Int32Array, owners: Int32Array) {
    this.#endpoints = endpoints;
    this.#points = points;
    this.#owners = owners;
  }

  get size(): number {
    return this.#points.length;
  }

  static *build(endpoints: readonly Endpoint[], minimumRingSize: number): Building {
    const counts = pointsOf(endpoints, minimumRingSize);
    yield;
    let size = 0;
    for (const count of counts) size += count;
    const hashes = new Int32Array(size);
    const owners = new Int32Array(size);
    const bucketSizes = new Int32Array(BUCKETS);
    let at = 0;
    for (const [index, { hashKey }] of endpoints.entries()) {
      // Two of 10,000 keys share a hash of 32 bits in one of 100 sets, and all points with it; both hashes never.
      const seed = hashText(hashKey);
      const secondSeed = hashText(hashKey, SECOND_SEED);
      const count = counts[index] ?? 0;
      for (let point = 0; point < count; point++) {
        const hash = hashNumber(hashNumber(point, seed), secondSeed);
        hashes[at] = hash;
        owners[at] = index;
        const bucket = bucketOf(hash);
        bucketSizes[bucket] = (bucketSizes[bucket] ?? 0) + 1;
        at++;
        if (at % POINTS_A_STEP === 0) yield;
      }
    }
    const sorted = yield* sortPoints(hashes, owners, bucketSizes);
    return new RingHash(endpoints, sorted.points, sorted.owners);
  }

  pick(hash: number, attempt: number): Endpoint | undefined {
    const points = this.#points;
    const { length } = points;
    let low = 0;
    let high = length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((points[middle] ?? 0) >= hash) high = middle;
      else low = middle + 1;
    }
    return this.#endpoints[this.#owners[(low + attempt) % length] ?? -1];
  }
}

/** How many points each endpoint has. */
function pointsOf(endpoints: readonly Endpoint[], minimumRingSize: number): number[] {
  let total = 0;
  let greatest = 0;
  for (const { weight } of endpoints) {
    total += weight;
    greatest = Math.max(greatest, weight);
  }
  const shares = total / greatest;
  const wanted = Math.min(minimumRingSize, Math.floor((GROWTH * minimumRingSize) / shares));
  const most = Math.max(1, Math.floor(MAX_RING_SIZE / shares));
  const points = Math.min(most, Math.max(MIN_POINTS, wanted));
  return endpoints.map(({ weight }) => Math.max(1, Math.round((points * weight) / greatest)));
}

/** The upper bits, in the order of numbers with a sign. */
function bucketOf(hash: number): number {
  return (hash >> (32 - BUCKET_BITS)) + BUCKETS / 2;
}

/** Sorts by hash, bucket by bucket: a whole ring at once would hold the thread for too long. */
function* sortPoints(
  hashes: Int32Array,
  owners: Int32Array,
  bucketSizes: Int32Array,
): Generator<undefined, Readonly<{ points: Int32Array; owners: Int32Array }>, undefined> {
  const { length } = hashes;
  const starts = new Int32Array(BUCKETS);
  let start = 0;
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    starts[bucket] = start;
    start += bucketSizes[bucket] ?? 0;
  }
  const ends = starts.slice();
  const byBucket = new Int32Array(length);
  for (let point = 0; point < length; point++) {
    const bucket = bucketOf(hashes[point] ?? 0);
    const at = ends[bucket] ?? 0;
    byBucket[at] = point;
    ends[bucket] = at + 1;
    if ((point + 1) % (8 * POINTS_A_STEP) === 0) yield;
  }
  const points = new Int32Array(length);
  const sortedOwners = new Int32Array(length);
  let sortedInStep = 0;
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    const from = starts[bucket] ?? 0;
    const to = ends[bucket] ?? 0;
    const keys = new Float64Array(to - from);
    for (let at = from; at < to; at++)
      keys[at - from] = (hashes[byBucket[at] ?? 0] ?? 0) * PLACES + (at - from);
    keys.sort();
    for (let at = from; at < to; at++) {
      const key = keys[at - from] ?? 0;
      const hash = Math.floor(key / PLACES);
      points[at] = hash;
      sortedOwners[at] = owners[byBucket[from + (key - hash * PLACES)] ?? 0] ?? 0;
    }
    sortedInStep += to - from;
    if (sortedInStep >= POINTS_A_STEP) {
      sortedInStep = 0;
      yield;
    }
  }
  return { points, owners: sortedOwners };
}
