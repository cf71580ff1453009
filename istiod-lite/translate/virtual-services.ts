import type { HttpMatch, HttpRule, PortRoutes } from '../../mesh/model/http-route.ts';
import { compareByAge } from '../../mesh/kubernetes/object.ts';
import type { VirtualService } from '../../mesh/kubernetes/virtual-service.ts';
import type { Picture } from '../snapshot.ts';
import { isExported, mostExactHost, resolveHost } from './hosts.ts';
import { carriesRequests, portsOf, type RouteParent } from './routes/parents.ts';
import type { MeshSettings } from './settings.ts';
import type { TrafficTarget } from './traffic-policies.ts';
import { isForMesh, type VirtualParts } from './virtual/parts.ts';
import { virtualHttpRules, virtualTcpRoute } from './virtual/rules.ts';

/**
 * The routes that VirtualServices give a service, by its ports; a port of which they say nothing has none. Those of the
 * service's namespace and of its waypoint's count, and of these the ones whose host says most of the service's name, all of
 * them together.
 */
export function translateVirtualServices(
  picture: Picture,
  settings: MeshSettings,
  target: TrafficTarget,
  parent: RouteParent,
): ReadonlyMap<number, PortRoutes> {
  const chosen = virtualServicesOf(picture, settings, target);
  const ports = new Map<number, PortRoutes>();
  if (chosen.length === 0) return ports;
  for (const { port, protocol } of portsOf(parent)) {
    const all = chosen.map((virtual): VirtualParts => {
      return {
        ...{ picture, settings, virtual },
        target: { ...target, port },
        note: () => undefined,
      };
    });
    const routes = (carriesRequests(protocol) ? httpRoutes(all) : undefined) ?? firstTcpRoute(all);
    if (routes !== undefined) ports.set(port, routes);
  }
  return ports;
}

/** Those that have an effect for a service, the oldest first. */
export function virtualServicesOf(
  picture: Picture,
  settings: MeshSettings,
  { namespace, hostname, waypointNamespace }: TrafficTarget,
): VirtualService[] {
  const candidates = [...new Set([namespace, waypointNamespace])].flatMap((from) =>
    [...picture.list('VirtualService', from)].filter(
      ({ spec, ref }) =>
        isForMesh(spec.gateways) && isExported(spec.exportTo, ref.namespace, waypointNamespace),
    ),
  );
  const hostsOf = ({ spec, ref }: VirtualService): string[] =>
    spec.hosts.map((host) => resolveHost(host, ref.namespace, settings));
  const host = mostExactHost(candidates.flatMap(hostsOf), hostname);
  if (host === undefined) return [];
  return candidates.filter((each) => hostsOf(each).includes(host)).sort(compareByAge);
}

function httpRoutes(all: readonly VirtualParts[]): PortRoutes | undefined {
  const rules = merge(all.map(virtualHttpRules));
  if (rules.length === 0) return undefined;
  return { kind: 'http', routes: { choice: 'order', grpc: false, rules } };
}

function firstTcpRoute(all: readonly VirtualParts[]): PortRoutes | undefined {
  for (const parts of all) {
    const route = virtualTcpRoute(parts);
    if (route !== undefined) return { kind: 'tcp', route };
  }
  return undefined;
}

/**
 * The rules of several VirtualServices as those of one: each keeps its order, and what has all that is left comes after what
 * has only some. Alone, a list stays as it is.
 */
function merge(lists: readonly (readonly HttpRule[])[]): HttpRule[] {
  if (lists.length === 1) return [...(lists[0] ?? [])];
  const exact: HttpRule[] = [];
  const rest: HttpRule[] = [];
  for (const rules of lists) {
    const last = rules.findIndex(isCatchAll);
    // What comes after the first catch-all of a list has never had a request.
    exact.push(...(last < 0 ? rules : rules.slice(0, last)));
    if (last >= 0) rest.push(...rules.slice(last));
  }
  return [...exact, ...rest];
}

function isCatchAll({ matches }: HttpRule): boolean {
  return matches.length === 0 || matches.some(isEverything);
}

function isEverything(match: HttpMatch): boolean {
  const { path, headers, queryParams, method, authority, scheme, sourceNamespace } = match;
  const others = [method, authority, scheme, sourceNamespace];
  if (headers.length + queryParams.length > 0 || others.some((each) => each !== undefined))
    return false;
  if (path?.kind === 'regex') return /^\/?\.\*$/.test(path.value);
  return path === undefined || (path.kind !== 'exact' && path.value === '/');
}
