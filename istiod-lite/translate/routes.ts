import type { PortRoutes, ServiceRoutes } from '../../mesh/model/http-route.ts';
import type { ServiceKey } from '../../mesh/model/service.ts';
import type { Route } from '../../mesh/kubernetes/route-backends.ts';
import type { Picture } from '../snapshot.ts';
import { attachmentsOf, PRODUCER, winners, type RouteParent } from './routes/parents.ts';
import { translateRoute, type TranslatedRoute } from './routes/rules.ts';
import type { MeshSettings } from './settings.ts';

/** All routes of a service, for its waypoints. */
export function translateServiceRoutes(
  picture: Picture,
  settings: MeshSettings,
  service: ServiceKey,
  parent: RouteParent,
): ServiceRoutes {
  const known = new Map<Route, TranslatedRoute>();
  const translate = (route: Route): TranslatedRoute => {
    const made = known.get(route) ?? translateRoute(picture, settings, route);
    known.set(route, made);
    return made;
  };
  const sets = [...attachmentsOf(picture, parent)].map(
    ([set, ports]): [string, ReadonlyMap<number, PortRoutes>] => [
      set,
      new Map([...ports].map(([port, routes]) => [port, portRoutes(routes, translate)])),
    ],
  );
  const [producer] = sets.filter(([set]) => set === PRODUCER);
  return {
    service,
    producer: producer?.[1] ?? new Map(),
    consumer: new Map(sets.filter(([set]) => set !== PRODUCER)),
  };
}

/** @param routes of one set and port, oldest first; at least one. */
function portRoutes(
  routes: readonly Route[],
  translate: (route: Route) => TranslatedRoute,
): PortRoutes {
  const chosen = winners(routes);
  const translated = chosen.map(translate);
  // Of connections there is nothing to match: the oldest route has them all.
  const [first] = translated;
  if (first?.kind === 'tcp') return { kind: 'tcp', route: first.route };
  return {
    kind: 'http',
    routes: {
      choice: 'precedence',
      grpc: chosen[0]?.kind === 'GRPCRoute',
      rules: translated.flatMap((each) => (each.kind === 'http' ? each.rules : [])),
    },
  };
}
