import type { Gateway, ListenerSet } from '../../../mesh/kubernetes/gateway.ts';
import { compareByAge } from '../../../mesh/kubernetes/object.ts';
import {
  isGatewayRef,
  isListenerSetRef,
  type ParentRef,
} from '../../../mesh/kubernetes/route-references.ts';
import { isAllowedNamespace } from '../allowed-namespaces.ts';
import type { Picture } from '../../snapshot.ts';
import { isIngress } from './ingress-class.ts';

/** What listeners are written in: the Gateway itself, or a ListenerSet that adds to it. */
export type ListenerOwner = Gateway | ListenerSet;

/** The ListenerSets that a Gateway takes, in the order in which their listeners go first. GEP-1713. */
export function listenerSetsOf(picture: Picture, gateway: Gateway): readonly ListenerSet[] {
  return [...picture.listenerSetsOf(gateway.ref.namespace, gateway.ref.name)]
    .filter((set) => allowsListenerSet(picture, gateway, set))
    .sort(compareByAge);
}

/** Whether a Gateway lets ListenerSets of that namespace add listeners to it: none, unless it says so. */
export function allowsListenerSet(
  picture: Picture,
  { spec, ref }: Gateway,
  set: ListenerSet,
): boolean {
  return isAllowedNamespace(
    picture,
    spec.allowedListeners.namespaces,
    ref.namespace,
    set.ref.namespace,
  );
}

/** The gateway at the edge that a ListenerSet names. */
export function gatewayOfSet(picture: Picture, set: ListenerSet): Gateway | undefined {
  const { name, namespace } = set.spec.parentRef;
  if (!isGatewayRef(set.spec.parentRef)) return undefined;
  const gateway = picture.get('Gateway', namespace ?? set.ref.namespace, name);
  return gateway !== undefined && isIngress(picture, gateway) ? gateway : undefined;
}

/** What a route's reference means: a gateway at the edge, or a ListenerSet that adds to one. */
export type EdgeParent = Readonly<{ gateway: Gateway; owner: ListenerOwner }>;

/** @param namespace the route's. */
export function findEdgeParent(
  picture: Picture,
  ref: ParentRef,
  namespace: string,
): EdgeParent | undefined {
  const home = ref.namespace ?? namespace;
  if (isListenerSetRef(ref)) {
    const set = picture.get('ListenerSet', home, ref.name);
    const gateway = set && gatewayOfSet(picture, set);
    return gateway && { gateway, owner: set };
  }
  if (!isGatewayRef(ref)) return undefined;
  const gateway = picture.get('Gateway', home, ref.name);
  if (gateway === undefined || !isIngress(picture, gateway)) return undefined;
  return { gateway, owner: gateway };
}
