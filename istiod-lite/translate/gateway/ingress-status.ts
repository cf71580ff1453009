import type { Condition, ListenerStatus } from '../settings.ts';
import type { GatewayAttachments } from './attach.ts';
import type { IngressAddresses } from './ingress-addresses.ts';
import type { ListenerFlaw } from './listener-spec.ts';
import type { ListenerOwner } from './listener-owners.ts';
import { isServed, type EvaluatedListener } from './listeners.ts';

/** The conditions of a Gateway whose own shape is right. */
export function gatewayConditions(
  listeners: readonly EvaluatedListener[],
  { lacking }: IngressAddresses,
): Condition[] {
  const refused = listeners.filter(({ unacceptable, conflict }) => unacceptable ?? conflict);
  const names = refused.map(({ spec }) => spec.name).join(', ');
  const served = listeners.some(isServed);
  const accepted =
    refused.length === 0
      ? condition('Accepted', 'True', 'Accepted', 'Resource accepted')
      : condition(
          ...(['Accepted', served ? 'True' : 'False', 'ListenersNotValid'] as const),
          `not accepted: ${names}`,
        );
  if (!served)
    return [accepted, condition('Programmed', 'False', 'Invalid', 'no listener can be served')];
  return [
    accepted,
    lacking === undefined
      ? condition('Programmed', 'True', 'Programmed', 'Resource programmed')
      : condition('Programmed', 'False', lacking.reason, lacking.message),
  ];
}

/** What the status of a Gateway or ListenerSet says of each of its listeners. */
export function listenerStatuses(
  attachments: GatewayAttachments,
  { lacking }: IngressAddresses,
  of: ListenerOwner,
): ListenerStatus[] {
  const own = attachments.listeners.filter(({ owner }) => owner.key === of.key);
  return own.map((listener): ListenerStatus => {
    const { spec, supportedKinds, unacceptable, conflict, unresolved } = listener;
    const flaw = unacceptable ?? conflict;
    return {
      ...{ name: spec.name, supportedKinds, attachedRoutes: attachments.of(listener).length },
      conditions: [
        judged('Accepted', flaw),
        conflict === undefined
          ? condition('Conflicted', 'False', 'NoConflicts', 'No errors found')
          : condition('Conflicted', 'True', conflict.reason, conflict.message),
        judged('ResolvedRefs', unresolved),
        isServed(listener)
          ? lacking === undefined
            ? condition('Programmed', 'True', 'Programmed', 'No errors found')
            : condition('Programmed', 'False', 'Pending', lacking.message)
          : condition(
              ...(['Programmed', 'False', 'Invalid'] as const),
              (flaw ?? unresolved)?.message ?? '',
            ),
      ],
    };
  });
}

function judged(type: 'Accepted' | 'ResolvedRefs', flaw: ListenerFlaw | undefined): Condition {
  return flaw === undefined
    ? condition(type, 'True', type, 'No errors found')
    : condition(type, 'False', flaw.reason, flaw.message);
}

export function condition(
  type: string,
  status: Condition['status'],
  reason: string,
  message: string,
): Condition {
  return { type, status, reason, message };
}
