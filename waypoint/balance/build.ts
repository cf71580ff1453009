import { unreachable } from '../../base/unreachable.ts';
import type { BalancerPolicy, Warmup } from '../../mesh/model/traffic-policy.ts';
import type { Balancer, Building } from './balancer.ts';
import type { Endpoint } from './endpoint.ts';
import { hashText } from './hash.ts';
import { LeastRequest } from './least-request.ts';
import { Maglev } from './maglev.ts';
import type { RandomSource } from './random-source.ts';
import { RandomBalancer } from './random.ts';
import { RingHash } from './ring-hash.ts';
import { RoundRobin } from './round-robin.ts';
import { warmAtMs } from './warm-up.ts';
import { Weighted } from './weighted.ts';
import { haveOneWeight } from './weights.ts';

export type BuildOptions = Readonly<{
  policy: BalancerPolicy;
  warmup: Warmup | undefined;
  now: () => number;
  random: RandomSource;
}>;

/** Whether requests with one key go to one endpoint. */
export function isHashing({ kind }: BalancerPolicy): boolean {
  return kind === 'ring-hash' || kind === 'maglev';
}

/** Makes the balancer of a policy over a list of endpoints. */
export function* buildBalancer(endpoints: readonly Endpoint[], options: BuildOptions): Building {
  const { policy, random } = options;
  switch (policy.kind) {
    case 'round-robin':
    case 'least-request':
      return turns(endpoints, policy.kind === 'least-request', options);
    case 'random':
    case 'passthrough': // where the destination is no endpoint; see EndpointPicker
      return new RandomBalancer(endpoints, random);
    case 'ring-hash':
      return yield* RingHash.build(yield* inOneOrder(endpoints), policy.minimumRingSize);
    case 'maglev':
      // With more endpoints than slots some would get nothing, and none be removed without moving most.
      return yield* Maglev.build(yield* inOneOrder(endpoints), policy.tableSize);
    default:
      return unreachable(policy);
  }
}

function turns(
  endpoints: readonly Endpoint[],
  byLoad: boolean,
  { warmup, now, random }: BuildOptions,
): Balancer {
  const nowMs = now();
  const warming =
    warmup !== undefined && endpoints.some(({ state }) => warmAtMs(state, warmup) > nowMs);
  if (warming || !haveOneWeight(endpoints))
    return new Weighted(endpoints, { byLoad, warmup: warming ? warmup : undefined, now, random });
  return byLoad ? new LeastRequest(endpoints, random) : new RoundRobin(endpoints, random);
}

/** Hashes (32 bits) and places in the list go into one double, which keeps 53. */
const PLACES = 2 ** 21;

/**
 * Replicas get endpoints in different orders, and must come to the same table. By hash, because numbers are sorted several times
 * faster than texts; only where two have the same, which is rare, texts are compared.
 */
function* inOneOrder(
  endpoints: readonly Endpoint[],
): Generator<undefined, readonly Endpoint[], undefined> {
  const keys = new Float64Array(endpoints.length);
  for (const [index, { hashKey }] of endpoints.entries())
    keys[index] = hashText(hashKey) * PLACES + index;
  yield;
  keys.sort();
  yield;
  const ordered: Endpoint[] = [];
  let previous = NaN;
  for (const key of keys) {
    const hash = Math.floor(key / PLACES);
    const endpoint = endpoints[key - hash * PLACES];
    if (hash === previous) return endpoints.toSorted(compareByHash);
    if (endpoint !== undefined) ordered.push(endpoint);
    previous = hash;
  }
  yield;
  return ordered;
}

function compareByHash(a: Endpoint, b: Endpoint): number {
  const difference = hashText(a.hashKey) - hashText(b.hashKey);
  if (difference !== 0) return difference;
  return a.hashKey < b.hashKey ? -1 : a.hashKey > b.hashKey ? 1 : 0;
}
