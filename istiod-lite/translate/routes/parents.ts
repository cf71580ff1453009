import type { AppProtocol } from '../../../mesh/model/service.ts';
import type { Service } from '../../../mesh/kubernetes/core.ts';
import type { ServiceEntry } from '../../../mesh/kubernetes/networking.ts';
import { compareByAge } from '../../../mesh/kubernetes/object.ts';
import { parentKind, type ParentRef } from '../../../mesh/kubernetes/route-references.ts';
import type { Route } from '../../../mesh/kubernetes/route-backends.ts';
import type { Picture } from '../../snapshot.ts';
import { protocolOf } from '../ports.ts';

/** What a route for clients inside the mesh attaches to. */
export type RouteParent = Service | ServiceEntry;

export type ParentPort = Readonly<{ port: number; name: string; protocol: AppProtocol }>;

/** Of several kinds on one port only the first has an effect. GEP-1294. */
const PREFERENCE: readonly Route['kind'][] = ['GRPCRoute', 'HTTPRoute', 'TLSRoute', 'TCPRoute'];

/** The set of a route whose namespace is that of its parent: for all clients. */
export const PRODUCER = '';

/**
 * The routes of one parent by set and port, oldest first. A set is PRODUCER, or the namespace of consumer routes, whose
 * clients see these alone.
 */
export type Attachments = ReadonlyMap<string, ReadonlyMap<number, readonly Route[]>>;

/** The object that a reference means; `undefined` for other kinds and for what does not exist. */
export function findParent(
  picture: Picture,
  ref: ParentRef,
  namespace: string,
): RouteParent | undefined {
  const kind = parentKind(ref);
  return kind === undefined ? undefined : picture.get(kind, ref.namespace ?? namespace, ref.name);
}

/** Which clients a route of a parent is for. */
export function setOf(route: Route, parent: RouteParent): string {
  return route.ref.namespace === parent.ref.namespace ? PRODUCER : route.ref.namespace;
}

/** The ports of a parent that a route attaches to by one of its references, or why by none. */
export function attach(
  route: Route,
  ref: ParentRef,
  parent: RouteParent,
): readonly number[] | string {
  if (route.kind === 'UDPRoute') return 'datagrams go past the mesh';
  const name = `${parent.kind} ${parent.ref.namespace}/${parent.ref.name}`;
  if (parent.kind === 'Service') {
    const { type, clusterIP } = parent.spec;
    if (type === 'ExternalName')
      return `${name} is of type ExternalName: it is reached without the mesh`;
    if (clusterIP === 'None')
      return `${name} is headless: its clients go to addresses of pods, which routes of a Service do not concern`;
  }
  const { port, sectionName } = ref;
  const meant = portsOf(parent).filter(
    (each) =>
      (port === undefined || each.port === port) &&
      (sectionName === undefined || each.name === sectionName),
  );
  if (meant.length === 0) {
    const asked = [
      ...(port === undefined ? [] : [String(port)]),
      ...(sectionName === undefined ? [] : [JSON.stringify(sectionName)]),
    ];
    return `${name} has no TCP port${asked.length === 0 ? '' : ` ${asked.join(' with name ')}`}`;
  }
  const carried = meant.filter(({ protocol }) => carries(protocol, route.kind));
  if (carried.length > 0) return carried.map((each) => each.port);
  const ports = meant.map((each) => `${each.port} (${each.protocol})`).join(', ');
  return `${name} declares port ${ports} as bytes, in which no ${route.kind} sees a request`;
}

/** All routes of a parent. */
export function attachmentsOf(picture: Picture, parent: RouteParent): Attachments {
  const { namespace, name } = parent.ref;
  const sets = new Map<string, Map<number, Route[]>>();
  const routes = [...picture.routesOf(parent.kind, namespace, name)].sort(compareByAge);
  for (const route of routes)
    for (const port of attachedPorts(picture, route, parent)) {
      const set = setOf(route, parent);
      const ports = sets.get(set) ?? new Map<number, Route[]>();
      sets.set(set, ports);
      const there = ports.get(port);
      if (there === undefined) ports.set(port, [route]);
      else there.push(route);
    }
  return sets;
}

/** Those of one port that have an effect: all of the kind that goes first. */
export function winners(routes: readonly Route[]): readonly Route[] {
  const kind = PREFERENCE.find((each) => routes.some((route) => route.kind === each));
  return routes.filter((route) => route.kind === kind);
}

/** By all references of a route to one parent together. */
function attachedPorts(picture: Picture, route: Route, parent: RouteParent): ReadonlySet<number> {
  const ports = new Set<number>();
  for (const ref of route.spec.parentRefs) {
    if (findParent(picture, ref, route.ref.namespace)?.key !== parent.key) continue;
    const attached = attach(route, ref, parent);
    if (typeof attached !== 'string') for (const port of attached) ports.add(port);
  }
  return ports;
}

/** The ports of a parent that carry connections. */
export function portsOf(parent: RouteParent): readonly ParentPort[] {
  if (parent.kind === 'Service')
    return parent.spec.ports
      .filter(({ protocol }) => protocol === 'TCP')
      .map(({ port, name, appProtocol }) => ({
        ...{ port, name },
        protocol: protocolOf(appProtocol, name),
      }));
  return parent.spec.ports
    .filter(({ protocol }) => protocol !== 'UDP')
    .map(({ number, name, protocol }) => ({
      ...{ port: number, name },
      protocol: protocolOf(protocol, name),
    }));
}

/** Of a port that is declared as bytes or TLS no requests are seen. */
function carries(protocol: AppProtocol, kind: Route['kind']): boolean {
  return kind === 'TCPRoute' || kind === 'TLSRoute' || carriesRequests(protocol);
}

export function carriesRequests(protocol: AppProtocol): boolean {
  return protocol !== 'TCP' && protocol !== 'TLS';
}
