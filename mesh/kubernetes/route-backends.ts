import type { KnownObject, ObjectOf } from './resources.ts';
import type { BackendObject } from './route-references.ts';

/** Every kind of route. */
export type Route = ObjectOf<'HTTPRoute' | 'GRPCRoute' | 'TCPRoute' | 'TLSRoute' | 'UDPRoute'>;

const ROUTE_KINDS: ReadonlySet<string> = new Set<Route['kind']>([
  ...(['HTTPRoute', 'GRPCRoute', 'TCPRoute', 'TLSRoute', 'UDPRoute'] as const),
]);

export function isRoute(object: KnownObject): object is Route {
  return ROUTE_KINDS.has(object.kind);
}

/** Everything that a route may send requests or connections to, mirrors too. */
export function backendsOf(route: Route): readonly BackendObject[] {
  switch (route.kind) {
    case 'HTTPRoute':
    case 'GRPCRoute':
      return route.spec.rules.flatMap(({ filters, backendRefs }) => [
        ...backendRefs,
        ...mirrorsIn(filters),
        ...backendRefs.flatMap((backend) => mirrorsIn(backend.filters)),
      ]);
    case 'TCPRoute':
    case 'TLSRoute':
    case 'UDPRoute':
      return route.spec.rules.flatMap(({ backendRefs }) => backendRefs);
  }
}

function mirrorsIn(
  filters: readonly Readonly<{
    requestMirror: Readonly<{ backendRef: BackendObject }> | undefined;
  }>[],
): BackendObject[] {
  return filters.flatMap(({ requestMirror }) =>
    requestMirror === undefined ? [] : [requestMirror.backendRef],
  );
}
