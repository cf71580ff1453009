import type { Gateway } from '../../../mesh/kubernetes/gateway.ts';
import type { Picture } from '../../snapshot.ts';
import { securityOfGateway, type GatewayPods } from '../http-policies.ts';
import { applyOverlay, findOverlay } from '../overlay.ts';
import { clusterNetwork, NOTHING, type MeshSettings, type Translation } from '../settings.ts';
import { GatewayAttachments } from './attach.ts';
import { ingressLabel, ingressName } from './ingress-class.ts';
import { ingressLabels, ingressObjects } from './ingress-objects.ts';
import {
  condition,
  gatewayConditions,
  ingressAddresses,
  listenerStatuses,
} from './ingress-status.ts';
import { acceptsAnyClient } from './listener-tls.ts';
import { translateListeners } from './listener-routes.ts';
import { isServed, keyOfGateway } from './listeners.ts';

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
  const overlay = findOverlay(picture, settings, gateway);
  if (overlay.kind === 'invalid')
    return {
      ...{ ...NOTHING, ...told },
      conditions: [
        condition('Accepted', 'False', 'InvalidParameters', overlay.reason),
        condition('Programmed', 'False', 'Invalid', overlay.reason),
      ],
      gateway: {
        addresses: [],
        listeners: listenerStatuses(attachments, {
          ...{ kind: 'none', reason: 'Pending', message: overlay.reason },
        }),
      },
    };
  const { listeners } = attachments;
  const found = ingressAddresses(picture, gateway);
  const network = clusterNetwork(picture, settings);
  const objects = listeners.some(isServed)
    ? ingressObjects(gateway, listeners, { ...settings, network })
    : [];
  return {
    ...{ ...NOTHING, ...told },
    conditions: [
      ...gatewayConditions(listeners, found),
      ...(acceptsAnyClient(gateway) ? [INSECURE_FALLBACK] : []),
    ],
    gateway: {
      addresses: found.kind === 'assigned' ? found.addresses : [],
      listeners: listenerStatuses(attachments, found),
    },
    generated:
      overlay.kind === 'none' ? objects : objects.map((object) => applyOverlay(object, overlay)),
  };
}
