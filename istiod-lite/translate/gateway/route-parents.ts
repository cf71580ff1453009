import { formatObject } from '../../../mesh/kubernetes/object.ts';
import type { Route } from '../../../mesh/kubernetes/route-backends.ts';
import type { ParentRef } from '../../../mesh/kubernetes/route-references.ts';
import { isGatewayRef, type Picture } from '../../snapshot.ts';
import type { ReferenceProblem } from '../routes/backends.ts';
import { translateRoute } from '../routes/rules.ts';
import type { Condition, MeshSettings, RouteParentStatus } from '../settings.ts';
import { GatewayAttachments } from './attach.ts';
import { isIngress } from './ingress-class.ts';
import { INGRESS_CONTROLLER } from '../../../mesh/kubernetes/labels.ts';
import { condition } from './ingress-status.ts';

/** What the status of a route says of the gateways that it names; other Gateways have other controllers. */
export function gatewayParents(
  picture: Picture,
  settings: MeshSettings,
  route: Route,
  resolvedRefs: (problems: readonly ReferenceProblem[]) => Condition,
): RouteParentStatus[] {
  return route.spec.parentRefs.filter(isGatewayRef).flatMap((parentRef): RouteParentStatus[] => {
    const gateway = picture.get(
      'Gateway',
      parentRef.namespace ?? route.ref.namespace,
      parentRef.name,
    );
    if (gateway === undefined || !isIngress(picture, gateway)) return [];
    const { problems, unusable } = translateRoute(picture, settings, route, 'asks for grants');
    const attachments = new GatewayAttachments(picture, gateway);
    return [
      {
        parentRef,
        controllerName: INGRESS_CONTROLLER,
        observedGeneration: route.metadata.generation,
        conditions: [accepted(route, parentRef, attachments, unusable), resolvedRefs(problems)],
      },
    ];
  });
}

function accepted(
  route: Route,
  ref: ParentRef,
  attachments: GatewayAttachments,
  unusable: readonly string[],
): Condition {
  const outcome = attachments.outcome(route, ref);
  if (outcome.kind === 'refused')
    return condition('Accepted', 'False', outcome.reason, outcome.message);
  // It stays attached: requests that it would have had are refused, not sent on as if there were no route.
  if (unusable.length > 0)
    return condition('Accepted', 'False', 'UnsupportedValue', unusable.join('; '));
  if (route.kind === 'HTTPRoute' || route.kind === 'GRPCRoute')
    return condition('Accepted', 'True', 'Accepted', 'Route was valid');
  const older = outcome.listeners.flatMap((listener) => {
    const first = attachments.of(listener)[0]?.route;
    return first === undefined || first.key === route.key ? [] : [formatObject(first.ref)];
  });
  const note = older.map((name) => `; ${name} is older and has all connections`).join('');
  return condition('Accepted', 'True', 'Accepted', `Route was valid${note}`);
}
