import type { ListenerSet } from '../../../mesh/kubernetes/gateway.ts';
import { formatObject } from '../../../mesh/kubernetes/object.ts';
import type { Picture } from '../../snapshot.ts';
import { NOTHING, type Condition, type Translation } from '../settings.ts';
import { GatewayAttachments } from './attach.ts';
import { ingressAddresses } from './ingress-addresses.ts';
import { condition, listenerStatuses } from './ingress-status.ts';
import { allowsListenerSet, gatewayOfSet } from './listener-owners.ts';
import { isServed } from './listeners.ts';

/** The status of a ListenerSet; what its listeners do is told to the gateway that it adds to. */
export function translateListenerSet(picture: Picture, set: ListenerSet): Translation {
  const gateway = gatewayOfSet(picture, set);
  if (gateway === undefined) return NOTHING;
  if (!allowsListenerSet(picture, gateway, set)) {
    const message = `${formatObject(gateway.ref)} takes no ListenerSets of namespace ${set.ref.namespace} (allowedListeners)`;
    return {
      ...NOTHING,
      conditions: [
        condition('Accepted', 'False', 'NotAllowed', message),
        condition('Programmed', 'False', 'NotAllowed', message),
      ],
    };
  }
  const attachments = new GatewayAttachments(picture, gateway);
  const own = attachments.listeners.filter(({ owner }) => owner.key === set.key);
  const found = ingressAddresses(picture, gateway);
  // Of a set, unlike of a Gateway, a listener without what it refers to counts as one that is not valid.
  const bad = own.filter((listener) => !isServed(listener));
  const served = own.some(isServed);
  const names = bad.map(({ spec }) => spec.name).join(', ');
  const accepted: Condition =
    bad.length === 0
      ? condition('Accepted', 'True', 'Accepted', 'Resource accepted')
      : condition(
          ...(['Accepted', served ? 'True' : 'False', 'ListenersNotValid'] as const),
          `not accepted: ${names}`,
        );
  const programmed = served
    ? found.lacking === undefined
      ? condition('Programmed', 'True', 'Programmed', 'Resource programmed')
      : condition('Programmed', 'False', 'Pending', found.lacking.message)
    : condition('Programmed', 'False', 'ListenersNotValid', 'no listener can be served');
  return {
    ...NOTHING,
    conditions: [accepted, programmed],
    gateway: { addresses: [], listeners: listenerStatuses(attachments, found, set) },
  };
}
