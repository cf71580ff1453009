/** Where a service stands: requests enter at the front, and end at a leaf. */
export type Layer = 'front' | 'middle' | 'leaf';

export type AppService = Readonly<{
  /** Also of its account. */
  name: string;
  layer: Layer;
  /** Names of the services that it calls. */
  calls: readonly string[];
  /** Names of the services that call it; none at the front, which the load calls. */
  callers: readonly string[];
}>;

/** One request from outside: three calls, the first by the load. */
export type CallPath = readonly [front: string, middle: string, leaf: string];

export type CallGraph = Readonly<{
  services: readonly AppService[];
  /** Every way through it; requests take each as often as the others. */
  paths: readonly CallPath[];
}>;

/** Every request is this many calls between pods. */
export const CALLS_PER_REQUEST = 3;
/** As deep layers are wider in applications: a fifth of the services, three tenths, and the rest. */
const SHARES = { front: 0.2, middle: 0.3 } as const;
/** Every service behind the front has so many callers, where there are so many services before it. */
const CALLERS = 2;

/**
 * Services in three layers, each of which calls only the next one; all leaves get the same load.
 *
 * @param count of services, at least one for each layer.
 * @throws {RangeError} for fewer.
 */
export function makeCallGraph(count: number): CallGraph {
  if (count < CALLS_PER_REQUEST)
    throw new RangeError(`Cannot make a call graph of ${count} services: it has three layers`);
  const fronts = Math.max(1, Math.round(count * SHARES.front));
  const middles = Math.max(1, Math.round(count * SHARES.middle));
  const names = Array.from({ length: count }, (_, index) => `svc-${index}`);
  const layers = [
    names.slice(0, fronts),
    names.slice(fronts, fronts + middles),
    names.slice(fronts + middles),
  ] as const;
  const services = (['front', 'middle', 'leaf'] as const).flatMap((layer, depth) => {
    const own = layers[depth] ?? [];
    const before = layers[depth - 1] ?? [];
    const after = layers[depth + 1] ?? [];
    return own.map((name, index) => ({
      ...{ name, layer, callers: callersOf(index, before) },
      calls: after.filter((_, called) => callersOf(called, own).includes(name)),
    }));
  });
  const byName = new Map(services.map((service) => [service.name, service]));
  const paths = layers[2].flatMap((leaf) =>
    (byName.get(leaf)?.callers ?? []).flatMap((middle) =>
      (byName.get(middle)?.callers ?? []).map((front): CallPath => [front, middle, leaf]),
    ),
  );
  return { services, paths };
}

/** The services of the layer before that call the one of that index. */
function callersOf(index: number, before: readonly string[]): string[] {
  const callers = Array.from(
    { length: Math.min(CALLERS, before.length) },
    (_, next) => before[(index + next) % before.length] ?? '',
  );
  return callers;
}

/** That share of the services, at least one unless it is 0, evenly spread over the layers. */
export function shareOfServices(graph: CallGraph, share: number): readonly string[] {
  const { services } = graph;
  const count = share === 0 ? 0 : Math.max(1, Math.round(services.length * share));
  return Array.from(
    { length: count },
    (_, index) => services[Math.floor(((index + 0.5) * services.length) / count)]?.name ?? '',
  );
}

/** The part of all calls that go to one of these services, 0 to 1. */
export function shareOfCalls(graph: CallGraph, names: readonly string[]): number {
  const calls = graph.paths.flat();
  return calls.filter((name) => names.includes(name)).length / calls.length;
}
