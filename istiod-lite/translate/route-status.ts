import { formatObject } from '../../mesh/kubernetes/object.ts';
import { parentKind, type ParentRef } from '../../mesh/kubernetes/route-references.ts';
import type { Route } from '../../mesh/kubernetes/route-backends.ts';
import type { Picture } from '../snapshot.ts';
import {
  attach,
  attachmentsOf,
  findParent,
  setOf,
  winners,
  type RouteParent,
} from './routes/parents.ts';
import { gatewayParents } from './gateway/route-parents.ts';
import type { ReferenceProblem } from './routes/backends.ts';
import { translateRoute } from './routes/rules.ts';
import { objectWaypoint } from './services.ts';
import type { Condition, MeshSettings, RouteParentStatus } from './settings.ts';

/** As upstream's for every route, also for those of Services. */
const CONTROLLER = 'istio.io/gateway-controller';

/** What the status of a route says of each parent that is a Service, a ServiceEntry or a gateway; other parents have other controllers. */
export function routeParents(
  picture: Picture,
  settings: MeshSettings,
  route: Route,
): RouteParentStatus[] {
  return [
    ...meshParents(picture, settings, route),
    ...gatewayParents(picture, settings, route, resolvedRefs),
  ];
}

function meshParents(picture: Picture, settings: MeshSettings, route: Route): RouteParentStatus[] {
  const refs = route.spec.parentRefs.filter((ref) => parentKind(ref) !== undefined);
  // Datagrams go past the mesh: only gateways see any.
  if (refs.length === 0 || route.kind === 'UDPRoute') return [];
  const { problems, unusable } = translateRoute(picture, settings, route);
  const resolved = resolvedRefs(problems);
  return refs.map((parentRef) => {
    const parent = findParent(picture, parentRef, route.ref.namespace);
    return {
      parentRef,
      controllerName: CONTROLLER,
      observedGeneration: route.metadata.generation,
      conditions: [
        accepted(picture, route, parentRef, parent, unusable),
        resolved,
        ...(parent === undefined ? [] : [resolvedWaypoints(picture, settings, parent)]),
      ],
    };
  });
}

function accepted(
  picture: Picture,
  route: Route,
  ref: ParentRef,
  parent: RouteParent | undefined,
  unusable: readonly string[],
): Condition {
  const refused = (reason: string, message: string): Condition => ({
    ...{ type: 'Accepted', status: 'False', reason, message },
  });
  if (parent === undefined) {
    const name = `${ref.kind} ${ref.namespace ?? route.ref.namespace}/${ref.name}`;
    return refused('NoMatchingParent', `${name} does not exist`);
  }
  const ports = attach(route, ref, parent);
  if (typeof ports === 'string') return refused('NoMatchingParent', ports);
  // It stays attached: requests that it would have had are refused, not sent on as if there were no route.
  if (unusable.length > 0) return refused('UnsupportedValue', unusable.join('; '));
  const bySet = attachmentsOf(picture, parent).get(setOf(route, parent));
  const notes: string[] = [];
  let lost = 0;
  for (const port of ports) {
    const [winner] = winners(bySet?.get(port) ?? []);
    if (winner === undefined || winner === route) continue;
    if (winner.kind !== route.kind) {
      lost++;
      notes.push(`${formatObject(winner.ref)} goes first on port ${port}`);
    } else if (route.kind === 'TCPRoute' || route.kind === 'TLSRoute')
      notes.push(`${formatObject(winner.ref)} is older and has all connections to port ${port}`);
  }
  if (lost === ports.length) return refused('Conflicted', notes.join('; '));
  const hostnames = 'hostnames' in route.spec ? route.spec.hostnames : [];
  if (hostnames.length > 0) notes.push('host names say nothing where a Service is the parent');
  const message = ['Route was valid', ...notes].join('; ');
  return { type: 'Accepted', status: 'True', reason: 'Accepted', message };
}

/** The reason of the first problem stands for all; the message names each. */
function resolvedRefs(problems: readonly ReferenceProblem[]): Condition {
  const [first] = problems;
  if (first === undefined)
    return {
      ...{ type: 'ResolvedRefs', status: 'True', reason: 'ResolvedRefs' },
      message: 'All references resolved',
    };
  const message = [...new Set(problems.map((each) => each.message))].join('; ');
  return { type: 'ResolvedRefs', status: 'False', reason: first.reason, message };
}

/** Nobody but a waypoint routes requests inside the mesh. */
function resolvedWaypoints(
  picture: Picture,
  settings: MeshSettings,
  parent: RouteParent,
): Condition {
  const { gateways, condition } = objectWaypoint(picture, settings, parent);
  const about = { type: 'ResolvedWaypoints', reason: 'ResolvedWaypoints' };
  if (gateways.size > 0)
    return {
      ...about,
      status: 'True',
      message: `All waypoints resolved: ${[...gateways].join(', ')}`,
    };
  const name = formatObject(parent.ref);
  const why =
    condition?.message ?? 'no label istio.io/use-waypoint, its own or of its namespace, names one';
  return { ...about, status: 'False', message: `the route has no effect for ${name}: ${why}` };
}
