import { tryParseIpAddress } from '../../../base/address.ts';
import type { Service } from '../../../mesh/kubernetes/core.ts';
import type { Gateway } from '../../../mesh/kubernetes/gateway.ts';
import { GATEWAY_NAME } from '../../../mesh/kubernetes/labels.ts';
import type { Picture } from '../../snapshot.ts';
import { isReady } from '../readiness.ts';
import type { Condition, GatewayStatusAddress, ListenerStatus } from '../settings.ts';
import type { GatewayAttachments } from './attach.ts';
import { ingressLabel, ingressName } from './ingress-class.ts';
import type { ListenerFlaw } from './listener-spec.ts';
import { isServed, type EvaluatedListener } from './listeners.ts';

/** Where a gateway is reached, or why it is not yet. */
export type IngressAddresses = Readonly<
  | { kind: 'assigned'; addresses: readonly GatewayStatusAddress[] }
  | { kind: 'none'; reason: 'AddressNotAssigned' | 'Pending'; message: string }
>;

/** The addresses of the gateway's Service, as soon as a replica is ready to serve there. */
export function ingressAddresses(picture: Picture, gateway: Gateway): IngressAddresses {
  const { namespace } = gateway.ref;
  const name = ingressName(gateway);
  const service = picture.get('Service', namespace, name);
  if (service !== undefined && service.metadata.labels.get(GATEWAY_NAME) !== ingressLabel(gateway))
    return {
      ...{ kind: 'none', reason: 'AddressNotAssigned' },
      message: `Service ${namespace}/${name} is somebody else's, and the gateway's has the same name`,
    };
  const addresses = service === undefined ? [] : serviceAddresses(service);
  if (addresses.length === 0)
    return {
      ...{ kind: 'none', reason: 'AddressNotAssigned' },
      message: `Service ${namespace}/${name} has no address yet`,
    };
  const instances = [...picture.podsOfGateway(namespace, ingressLabel(gateway))];
  if (!instances.some(isReady))
    return { kind: 'none', reason: 'Pending', message: 'no replica of the gateway is ready' };
  return { kind: 'assigned', addresses };
}

function serviceAddresses({ spec, status }: Service): readonly GatewayStatusAddress[] {
  if (spec.type === 'LoadBalancer')
    return status.loadBalancer.ingress.map(({ ip, hostname }) =>
      ip === '' ? { type: 'Hostname', value: hostname } : { type: 'IPAddress', value: ip },
    );
  const given = spec.clusterIPs.length > 0 ? spec.clusterIPs : [spec.clusterIP];
  return given
    .filter((text) => tryParseIpAddress(text) !== undefined)
    .map((value) => ({ type: 'IPAddress', value }));
}

/** The conditions of a Gateway whose own shape is right. */
export function gatewayConditions(
  listeners: readonly EvaluatedListener[],
  found: IngressAddresses,
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
    found.kind === 'assigned'
      ? condition('Programmed', 'True', 'Programmed', 'Resource programmed')
      : condition('Programmed', 'False', found.reason, found.message),
  ];
}

/** What the status says of each listener. */
export function listenerStatuses(
  attachments: GatewayAttachments,
  found: IngressAddresses,
): ListenerStatus[] {
  return attachments.listeners.map((listener): ListenerStatus => {
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
          ? found.kind === 'assigned'
            ? condition('Programmed', 'True', 'Programmed', 'No errors found')
            : condition('Programmed', 'False', 'Pending', found.message)
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
