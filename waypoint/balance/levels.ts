import { localityRank, type EndpointSource } from '../../mesh/model/endpoint.ts';
import type { LoadBalancing } from '../../mesh/model/service.ts';
import type { LocalityPolicy } from '../../mesh/model/traffic-policy.ts';
import type { Locality, Workload } from '../../mesh/model/workload.ts';
import type { Endpoint } from './endpoint.ts';

/** Where the waypoint is; its labels are compared with those of endpoints. */
export type BalancerSource = EndpointSource & Readonly<{ labels: ReadonlyMap<string, string> }>;

/** Endpoints that share a part of a level's requests. */
export type EndpointGroup = Readonly<{ weight: number; endpoints: readonly Endpoint[] }>;

/** Endpoints that are used while those before them cannot carry everything. */
export type EndpointLevel = readonly EndpointGroup[];

export type LevelOptions = Readonly<{
  source: BalancerSource;
  loadBalancing: LoadBalancing;
  locality: LocalityPolicy | undefined;
}>;

/**
 * Sorts endpoints into levels by their distance. A DestinationRule's own words go first, then the Service's
 * `trafficDistribution`; a rule that says nothing but watches for outliers prefers the nearest. What may not be used at all is
 * left out: endpoints of other nodes (internalTrafficPolicy: Local), localities that get no share.
 */
export function sortIntoLevels(
  endpoints: readonly Endpoint[],
  { source, loadBalancing, locality }: LevelOptions,
): readonly EndpointLevel[] {
  const usable = endpoints.filter(
    ({ workload }) => localityRank(loadBalancing, source, workload) >= 0,
  );
  const shares = locality === undefined ? undefined : sharesFrom(locality, source.locality);
  if (shares !== undefined) return [distribute(usable, shares)];
  const explicit = locality !== undefined && locality.failover.length > 0;
  if (locality !== undefined && locality.failoverPriority.length > 0)
    return byRank(usable, ({ workload, labels }) =>
      unmatchedLabels(locality.failoverPriority, source, workload, labels),
    );
  if (loadBalancing.mode === 'FAILOVER' && !explicit)
    return byRank(usable, ({ workload }) => -localityRank(loadBalancing, source, workload));
  if (locality === undefined) return byRank(usable, () => 0);
  const region = locality.failover.find(({ from }) => from === source.locality.region)?.to;
  return byRank(usable, ({ workload }) => distance(source.locality, workload.locality, region));
}

/** The lowest rank first; ranks that nobody has are no levels. */
function byRank(
  endpoints: readonly Endpoint[],
  rankOf: (endpoint: Endpoint) => number,
): readonly EndpointLevel[] {
  const levels = new Map<number, Endpoint[]>();
  for (const endpoint of endpoints) {
    const rank = rankOf(endpoint);
    const level = levels.get(rank);
    if (level === undefined) levels.set(rank, [endpoint]);
    else level.push(endpoint);
  }
  return [...levels]
    .sort(([a], [b]) => a - b)
    .map(([, members]) => [{ weight: 1, endpoints: members }]);
}

/** The same subzone, zone, region, the region to fail over to (any, where none is named), and the rest. Istio. */
function distance(here: Locality, there: Locality, failoverRegion: string | undefined): number {
  if (here.region !== there.region)
    return failoverRegion === undefined || failoverRegion === there.region ? 3 : 4;
  if (here.zone !== there.zone) return 2;
  return here.subzone === there.subzone ? 0 : 1;
}

/** How many labels are left after those in front that are the same here and there; `key=value` asks for that value. */
function unmatchedLabels(
  wanted: readonly string[],
  source: BalancerSource,
  workload: Workload,
  labels: ReadonlyMap<string, string>,
): number {
  for (const [index, entry] of wanted.entries()) {
    const equals = entry.indexOf('=');
    const key = equals < 0 ? entry : entry.slice(0, equals);
    const here = equals < 0 ? labelOf(key, source, source.labels) : entry.slice(equals + 1);
    if (labelOf(key, workload, labels) !== here) return wanted.length - index;
  }
  return 0;
}

/** Labels by which Kubernetes and Istio tell where something is; others are those of the pod. */
function labelOf(
  key: string,
  place: EndpointSource,
  labels: ReadonlyMap<string, string>,
): string | undefined {
  switch (key) {
    case 'topology.kubernetes.io/region':
      return place.locality.region;
    case 'topology.kubernetes.io/zone':
      return place.locality.zone;
    case 'topology.istio.io/subzone':
      return place.locality.subzone;
    case 'topology.istio.io/network':
      return place.network;
    case 'topology.istio.io/cluster':
      return place.clusterId;
    case 'kubernetes.io/hostname':
      return place.node;
    default:
      return labels.get(key);
  }
}

/** The shares that clients of a locality are told to use. */
function sharesFrom(
  { distribute: rules }: LocalityPolicy,
  here: Locality,
): ReadonlyMap<string, number> | undefined {
  return rules.find(({ from }) => localityMatches(from, here))?.to;
}

/** Each endpoint belongs to the most exact locality that it matches. */
function distribute(
  endpoints: readonly Endpoint[],
  shares: ReadonlyMap<string, number>,
): EndpointLevel {
  const groups = [...shares]
    .sort(([a], [b]) => exactness(b) - exactness(a))
    .map(([pattern, weight]) => ({ pattern, weight, endpoints: new Array<Endpoint>() }));
  for (const endpoint of endpoints)
    groups
      .find(({ pattern }) => localityMatches(pattern, endpoint.workload.locality))
      ?.endpoints.push(endpoint);
  return groups
    .filter((group) => group.weight > 0 && group.endpoints.length > 0)
    .map((group) => ({ weight: group.weight, endpoints: group.endpoints }));
}

/** Whether a locality is in `region`, `region/zone`, `region/zone/subzone`, any part of which may be `*`. */
export function localityMatches(pattern: string, { region, zone, subzone }: Locality): boolean {
  const parts = [region, zone, subzone];
  return pattern.split('/').every((part, index) => part === '*' || part === parts[index]);
}

function exactness(pattern: string): number {
  return pattern.split('/').filter((part) => part !== '*').length;
}
