import { HBONE_PORT } from '../../mesh/model/ports.ts';
import type { Gateway, GatewayClass } from '../../mesh/kubernetes/gateway.ts';
import {
  GATEWAY_NAME,
  INGRESS_CONTROLLER,
  WAYPOINT_CLASS,
  WAYPOINT_CONTROLLER,
} from '../../mesh/kubernetes/labels.ts';
import type { Picture } from '../snapshot.ts';
import { translateIngress } from './gateway/ingress.ts';
import { isIngress } from './gateway/ingress-class.ts';
import { condition } from './gateway/ingress-status.ts';
import { securityOfGateway } from './http-policies.ts';
import { applyOverlay, findOverlay, type Overlay } from './overlay.ts';
import {
  clusterNetwork,
  NOTHING,
  type Condition,
  type ListenerStatus,
  type MeshSettings,
  type Translation,
} from './settings.ts';
import { gatewayAddresses, isUnmanaged, serviceOf } from './waypoint-gateways.ts';
import { waypointObjects } from './waypoint-objects.ts';

/** What may be attached to what uses a waypoint. */
const ROUTE_KINDS: ListenerStatus['supportedKinds'] = [
  'HTTPRoute',
  'GRPCRoute',
  'TCPRoute',
  'TLSRoute',
].map((kind) => ({ group: 'gateway.networking.k8s.io', kind }));

/**
 * Turns a Gateway, of class istio-waypoint or at the edge of the mesh, into the objects that run it, and tells in its status how far that is. One
 * whose shape is wrong runs nothing, and says why.
 */
export function translateGateway(
  picture: Picture,
  settings: MeshSettings,
  gateway: Gateway,
): Translation {
  if (gateway.spec.gatewayClassName !== WAYPOINT_CLASS)
    return isIngress(picture, gateway) ? translateIngress(picture, settings, gateway) : NOTHING;
  const flaw = findFlaw(gateway);
  // Also of one whose Gateway is wrong now: an old instance may still run, and must not lose what it enforces.
  const waypointSecurities = [
    {
      security: securityOfGateway(picture, settings, gateway),
      readers: new Set([`${gateway.ref.namespace}/${gateway.ref.name}`]),
    },
  ];
  return { ...translateSound(picture, settings, gateway, flaw), waypointSecurities };
}

function translateSound(
  picture: Picture,
  settings: MeshSettings,
  gateway: Gateway,
  flaw: string | undefined,
): Translation {
  if (flaw !== undefined) return refused(gateway, 'ListenersNotValid', flaw, 'UnsupportedProtocol');
  const overlay = isUnmanaged(gateway)
    ? { kind: 'none' as const }
    : findOverlay(picture, settings, gateway);
  if (overlay.kind === 'invalid')
    return refused(gateway, 'InvalidParameters', overlay.reason, undefined);
  const addresses = gatewayAddresses(picture, settings, gateway);
  const programmed = isProgrammed(picture, gateway, addresses.length > 0);
  return {
    ...NOTHING,
    conditions: [condition('Accepted', 'True', 'Accepted', 'Resource accepted'), programmed],
    gateway: { addresses, listeners: gateway.spec.listeners.map(({ name }) => listener(name)) },
    generated: isUnmanaged(gateway)
      ? []
      : overlaid(gateway, { ...settings, network: clusterNetwork(picture, settings) }, overlay),
  };
}

/** A class says in its status who acts on it. */
export function classConditions({ spec }: GatewayClass): readonly Condition[] {
  if (spec.controllerName !== WAYPOINT_CONTROLLER && spec.controllerName !== INGRESS_CONTROLLER)
    return [];
  return [condition('Accepted', 'True', 'Accepted', 'Handled by the mesh')];
}

/** A waypoint has one listener, HBONE on 15008. */
function findFlaw({ spec: { listeners } }: Gateway): string | undefined {
  const [only, ...others] = listeners;
  if (only !== undefined && others.length === 0)
    if (only.protocol === 'HBONE' && only.port === HBONE_PORT) return undefined;
  const found = listeners.map(({ name, protocol, port }) => `${name}: ${protocol} on ${port}`);
  return `a waypoint has one listener, protocol HBONE on port ${HBONE_PORT}: found ${found.join(', ')}`;
}

function refused(
  gateway: Gateway,
  reason: string,
  message: string,
  listenerReason: string | undefined,
): Translation {
  return {
    ...NOTHING,
    conditions: [
      condition('Accepted', 'False', reason, message),
      condition('Programmed', 'False', 'Invalid', message),
    ],
    gateway: {
      addresses: [],
      listeners: gateway.spec.listeners.map(({ name }) =>
        listener(
          name,
          listenerReason === undefined ? undefined : { reason: listenerReason, message },
        ),
      ),
    },
  };
}

function isProgrammed(picture: Picture, gateway: Gateway, hasAddress: boolean): Condition {
  const { namespace, name } = gateway.ref;
  if (hasAddress) {
    const message = isUnmanaged(gateway)
      ? 'Resource programmed, by its own addresses'
      : `Resource programmed, assigned to service ${namespace}/${name}`;
    return condition('Programmed', 'True', 'Programmed', message);
  }
  if (serviceOf(picture, gateway) !== undefined)
    return condition('Programmed', 'False', 'Pending', 'no replica of the waypoint is ready');
  const other = picture.get('Service', namespace, name);
  const isOurs = other === undefined || other.metadata.labels.get(GATEWAY_NAME) === name;
  const message = isOurs
    ? 'its Service has no address yet'
    : `Service ${namespace}/${name} is somebody else's, and a waypoint's has the same name`;
  return condition('Programmed', 'False', 'AddressNotAssigned', message);
}

function listener(
  name: string,
  flaw?: Readonly<{ reason: string; message: string }>,
): ListenerStatus {
  const accepted =
    flaw === undefined
      ? condition('Accepted', 'True', 'Accepted', 'No errors found')
      : condition('Accepted', 'False', flaw.reason, flaw.message);
  const programmed =
    flaw === undefined
      ? condition('Programmed', 'True', 'Programmed', 'No errors found')
      : condition('Programmed', 'False', 'Invalid', flaw.message);
  return {
    ...{ name, supportedKinds: ROUTE_KINDS, attachedRoutes: 0 },
    conditions: [
      accepted,
      condition('Conflicted', 'False', 'NoConflicts', 'No errors found'),
      programmed,
      condition('ResolvedRefs', 'True', 'ResolvedRefs', 'No errors found'),
    ],
  };
}

function overlaid(
  gateway: Gateway,
  settings: MeshSettings,
  overlay: Exclude<Overlay, { kind: 'invalid' }>,
): Translation['generated'] & {} {
  const objects = waypointObjects(gateway, settings);
  return overlay.kind === 'none' ? objects : objects.map((object) => applyOverlay(object, overlay));
}
