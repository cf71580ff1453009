import type { Gateway } from '../../../mesh/kubernetes/gateway.ts';
import type { Picture } from '../../snapshot.ts';
import { securityOfGateway, type GatewayPods } from '../http-policies.ts';
import { applyOverlay, findOverlay } from '../overlay.ts';
import {
  clusterNetwork,
  NOTHING,
  type Condition,
  type MeshSettings,
  type Translation,
} from '../settings.ts';
import { GatewayAttachments } from './attach.ts';
import { ingressLabel, ingressName } from './ingress-class.ts';
import { ingressLabels, ingressObjects } from './ingress-objects.ts';
import { askedAddresses, ingressAddresses } from './ingress-addresses.ts';
import { condition, gatewayConditions, listenerStatuses } from './ingress-status.ts';
import { listenerSetsOf } from './listener-owners.ts';
import { acceptsAnyClient, backendCertificate } from './listener-tls.ts';
import { translateListeners } from './listener-routes.ts';
import { isServed, keyOfGateway } from './listeners.ts';

/** Only where the Gateway itself refers to something. */
function resolvedRefs(picture: Picture, gateway: Gateway): Condition[] {
  const { certificate, unresolved } = backendCertificate(picture, gateway);
  if (unresolved !== undefined)
    return [condition('ResolvedRefs', 'False', unresolved.reason, unresolved.message)];
  return certificate === undefined
    ? []
    : [condition('ResolvedRefs', 'True', 'ResolvedRefs', 'All references resolved')];
}

const INSECURE_FALLBACK = condition(
  ...(['InsecureFrontendValidationMode', 'True', 'ConfigurationChanged'] as const),
  'clients without a valid certificate are served',
);

/** Its instances, by the labels that they have and those that new ones get. */
function podsOf(picture: Picture, gateway: Gateway): GatewayPods {
  const { namespace } = gateway.ref;
  const pods = [...picture.podsOfGateway(namespace, ingressLabel(gateway))];
  const made = new Map(Object.entries(ingressLabels(gateway)));
  return {
    account: ingressName(gateway),
    labels: [made, ...pods.map(({ metadata }) => metadata.labels)],
  };
}

/**
 * Turns a Gateway at the edge of the mesh into the objects that run it, what they are told, and its status. As long as no
 * listener can be served, nothing runs.
 */
export function translateIngress(
  picture: Picture,
  settings: MeshSettings,
  gateway: Gateway,
): Translation {
  const attachments = new GatewayAttachments(picture, gateway);
  const readers = new Set<string>([keyOfGateway(gateway)]);
  const told = {
    waypointSecurities: [
      {
        security: securityOfGateway(picture, settings, gateway, podsOf(picture, gateway)),
        readers,
      },
    ],
    gatewayListeners: translateListeners(picture, settings, gateway, attachments),
  };
  const refused = (reason: string, message: string): Translation => ({
    ...{ ...NOTHING, ...told },
    conditions: [
      condition('Accepted', 'False', reason, message),
      condition('Programmed', 'False', 'Invalid', message),
    ],
    gateway: {
      addresses: [],
      listeners: listenerStatuses(
        ...([attachments, { addresses: [], lacking: { reason: 'Pending', message } }] as const),
        gateway,
      ),
    },
  });
  const overlay = findOverlay(picture, settings, gateway);
  if (overlay.kind === 'invalid') return refused('InvalidParameters', overlay.reason);
  const { unsupported } = askedAddresses(gateway);
  if (unsupported !== undefined)
    return refused('UnsupportedAddress', `no address is of type ${unsupported.type}`);
  const { listeners } = attachments;
  const own = listeners.filter(({ owner }) => owner.key === gateway.key);
  const found = ingressAddresses(picture, gateway);
  const network = clusterNetwork(picture, settings);
  const objects = listeners.some(isServed)
    ? ingressObjects(gateway, listeners, { ...settings, network })
    : [];
  return {
    ...{ ...NOTHING, ...told },
    conditions: [
      ...gatewayConditions(own, found),
      ...(acceptsAnyClient(gateway) ? [INSECURE_FALLBACK] : []),
      ...resolvedRefs(picture, gateway),
    ],
    gateway: {
      addresses: found.addresses,
      listeners: listenerStatuses(attachments, found, gateway),
      attachedListenerSets: listenerSetsOf(picture, gateway).length,
    },
    generated:
      overlay.kind === 'none' ? objects : objects.map((object) => applyOverlay(object, overlay)),
  };
}
