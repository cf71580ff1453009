import type { GatewayAddress } from '../../mesh/model/gateway-address.ts';
import type { Gateway } from '../../mesh/kubernetes/gateway.ts';
import {
  FOR_SERVICE_ACCOUNT,
  GATEWAY_MANAGED,
  GATEWAY_MANAGED_EAST_WEST,
  GATEWAY_MANAGED_MESH,
  GATEWAY_NAME,
  INGRESS_USE_WAYPOINT,
  USE_WAYPOINT,
  USE_WAYPOINT_CANARY,
  USE_WAYPOINT_CANARY_NAMESPACE,
  USE_WAYPOINT_CANARY_WEIGHT,
  USE_WAYPOINT_NAMESPACE,
  USE_WAYPOINT_NONE,
  WAYPOINT_FAIL_OPEN,
  WAYPOINT_FOR,
} from '../../mesh/kubernetes/labels.ts';
import type { Labels } from '../../mesh/kubernetes/selector.ts';
import type { Picture } from '../snapshot.ts';
import type { Condition, MeshSettings } from './settings.ts';
import {
  accountsOf,
  addressOf,
  allowsNamespace,
  gatewayAddresses,
  hostnameAddress,
  ofGatewayOrClass,
} from './waypoint-gateways.ts';

export type WaypointTraffic = 'service' | 'workload';

/** Who asks for a waypoint. */
export type WaypointUser = Readonly<{
  namespace: string;
  labels: Labels;
  annotations: Labels;
  traffic: WaypointTraffic;
  /** Its endpoints' accounts; a pod has one. `undefined` for an endpoint without account. */
  serviceAccounts: () => ReadonlySet<string | undefined>;
}>;

/** What is published, and the condition that tells of it. */
export type WaypointBinding = Readonly<{
  waypoint?: GatewayAddress;
  /** Why connections must be refused. */
  waypointProblem?: string;
  weightedWaypoints: readonly Readonly<{ destination: GatewayAddress; weight: number }>[];
  ingressUseWaypoint: boolean;
  /** The Gateways whose waypoints traffic goes through, `<namespace>/<name>`; none where it is refused or goes direct. */
  gateways: ReadonlySet<string>;
  condition?: Condition;
}>;

type Wish = Readonly<{
  namespace: string;
  name: string;
  canary?: Readonly<{ namespace: string; name: string; weight: string }>;
  /** The whole namespace asked, not this object. */
  inherited: boolean;
  /** Asked for by account: `waypoint-for` does not matter. */
  byAccount: boolean;
}>;

type Problem = Readonly<{ reason: string; message: string }>;

const UNBOUND: WaypointBinding = {
  ...{ weightedWaypoints: [], ingressUseWaypoint: false },
  gateways: new Set(),
};

/**
 * Finds the waypoint of an object: its own label, then a Gateway that names its service account, then its namespace's
 * label. One that is named and cannot be used refuses traffic, unless an annotation says otherwise.
 */
export function resolveWaypoint(
  picture: Picture,
  settings: MeshSettings,
  user: WaypointUser,
): WaypointBinding {
  if (isGatewayItself(user.labels)) return UNBOUND;
  const wish = findWish(picture, user);
  if (wish === undefined) return UNBOUND;
  if (!('name' in wish))
    return { ...UNBOUND, condition: condition('False', wish.reason, wish.message) };
  const gateway = picture.get('Gateway', wish.namespace, wish.name);
  const problem = findProblem(picture, settings, gateway, wish, user);
  if (problem !== undefined) return refuse(picture, settings, user, wish, problem);
  const waypoint = gateway === undefined ? undefined : addressOf(picture, settings, gateway);
  if (waypoint === undefined)
    return refuse(picture, settings, user, wish, {
      reason: 'WaypointIsNotReady',
      message: `waypoint ${wish.namespace}/${wish.name} is not ready: its Gateway has no usable address`,
    });
  const ingress = usesForIngress(picture, user);
  const bound = `Successfully attached to waypoint ${wish.namespace}/${wish.name}`;
  const note = ingress ? `${bound}. Ingress traffic will traverse the waypoint` : bound;
  const canary = resolveCanary(picture, settings, user, wish, waypoint);
  return {
    waypoint,
    weightedWaypoints: canary.weighted,
    gateways: new Set([`${wish.namespace}/${wish.name}`, ...canary.gateways]),
    ingressUseWaypoint: ingress,
    condition: condition('True', 'WaypointAccepted', `${note}${canary.note}`),
  };
}

function condition(status: Condition['status'], reason: string, message: string): Condition {
  return { type: 'istio.io/WaypointBound', status, reason, message };
}

function isGatewayItself(labels: Labels): boolean {
  const managed = labels.get(GATEWAY_MANAGED);
  return (
    labels.has(GATEWAY_NAME) ||
    managed === GATEWAY_MANAGED_MESH ||
    managed === GATEWAY_MANAGED_EAST_WEST
  );
}

/** A wish, or why a wish by account cannot be granted. */
function findWish(picture: Picture, user: WaypointUser): Wish | Problem | undefined {
  const { namespace, labels, annotations } = user;
  if (labels.has(USE_WAYPOINT)) return wishOf(labels, annotations, namespace, { inherited: false });
  const byAccount = findByAccount(picture, user);
  if (byAccount !== undefined && 'name' in byAccount) return byAccount;
  const owner = picture.get('Namespace', '', namespace);
  const inherited =
    owner === undefined
      ? undefined
      : wishOf(owner.metadata.labels, owner.metadata.annotations, namespace, { inherited: true });
  return inherited ?? byAccount;
}

function wishOf(
  labels: Labels,
  annotations: Labels,
  defaultNamespace: string,
  { inherited }: { inherited: boolean },
): Wish | undefined {
  const name = labels.get(USE_WAYPOINT);
  if (name === undefined || name === USE_WAYPOINT_NONE || name === '') return undefined;
  const canary = labels.get(USE_WAYPOINT_CANARY);
  const namespace = labels.get(USE_WAYPOINT_NAMESPACE) ?? defaultNamespace;
  const wish: Wish = { namespace, name, inherited, byAccount: false };
  if (canary === undefined || canary === USE_WAYPOINT_NONE || canary === '') return wish;
  return {
    ...wish,
    canary: {
      name: canary,
      namespace: labels.get(USE_WAYPOINT_CANARY_NAMESPACE) ?? defaultNamespace,
      weight: annotations.get(USE_WAYPOINT_CANARY_WEIGHT) ?? '0',
    },
  };
}

function findByAccount(picture: Picture, user: WaypointUser): Wish | Problem | undefined {
  const gateways = [...picture.list('Gateway', user.namespace)]
    .filter((gateway) => gateway.metadata.annotations.has(FOR_SERVICE_ACCOUNT))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
  if (gateways.length === 0) return undefined;
  const accounts = [...user.serviceAccounts()];
  for (const gateway of gateways) {
    const served = accountsOf(gateway);
    const covered = accounts.filter((account) => account !== undefined && served.includes(account));
    if (covered.length === 0) continue;
    const { namespace, name } = gateway.ref;
    if (covered.length === accounts.length)
      return { namespace, name, inherited: false, byAccount: true };
    const others = accounts.filter((account) => account === undefined || !served.includes(account));
    return {
      reason: 'MixedServiceAccounts',
      message:
        `waypoint ${namespace}/${name} serves the accounts ${served.join(', ')}, but endpoints of this service also run under ` +
        others.map((account) => account ?? '(none)').join(', '),
    };
  }
  return undefined;
}

function findProblem(
  picture: Picture,
  settings: MeshSettings,
  gateway: Gateway | undefined,
  wish: Wish,
  user: WaypointUser,
): Problem | undefined {
  const name = `${wish.namespace}/${wish.name}`;
  if (gateway === undefined) {
    // Nobody says what the waypoint would be for; then it is for services, and a pod that only inherits is not meant.
    if (wish.inherited && user.traffic === 'workload')
      return { reason: 'UnsupportedTrafficType', message: `waypoint ${name} does not exist` };
    return { reason: 'WaypointIsNotReady', message: `waypoint ${name} does not exist` };
  }
  const traffic = ofGatewayOrClass(picture, gateway, 'labels', WAYPOINT_FOR) ?? 'service';
  if (!wish.byAccount && traffic !== user.traffic && traffic !== 'all')
    return {
      reason: 'UnsupportedTrafficType',
      message: `waypoint ${name} is for ${traffic} traffic, not for ${user.traffic} traffic`,
    };
  if (!allowsNamespace(picture, gateway, user.namespace))
    return {
      reason: 'AttachmentDenied',
      message: `waypoint ${name} does not allow namespace ${user.namespace} (allowedRoutes of its listener)`,
    };
  if (gatewayAddresses(picture, settings, gateway).length === 0)
    return {
      reason: 'WaypointIsNotReady',
      message: `waypoint ${name} is not ready: its Gateway has no address yet`,
    };
  return undefined;
}

/**
 * Upstream would publish the object without a waypoint, and its L7 policy would be skipped in silence. Here the
 * connection is refused with the reason; the waypoint's name is set too, so that a proxy that does not know the reason refuses as well.
 */
function refuse(
  picture: Picture,
  settings: MeshSettings,
  user: WaypointUser,
  wish: Wish,
  { reason, message }: Problem,
): WaypointBinding {
  // A waypoint that is for other traffic was never meant for this object.
  if (reason === 'UnsupportedTrafficType')
    return { ...UNBOUND, condition: condition('False', reason, `${message}; traffic goes direct`) };
  const owner = picture.get('Namespace', '', user.namespace);
  const failOpen =
    user.annotations.get(WAYPOINT_FAIL_OPEN) ?? owner?.metadata.annotations.get(WAYPOINT_FAIL_OPEN);
  if (failOpen === 'true')
    return {
      ...UNBOUND,
      condition: condition(
        'False',
        reason,
        `${message}; traffic goes direct (${WAYPOINT_FAIL_OPEN})`,
      ),
    };
  const hostname = `${wish.name}.${wish.namespace}.svc.${settings.clusterDomain}`;
  return {
    ...UNBOUND,
    waypoint: hostnameAddress(wish.namespace, hostname),
    waypointProblem: message,
    ingressUseWaypoint: usesForIngress(picture, user),
    condition: condition('False', reason, `${message}; traffic is refused`),
  };
}

/** Whether it asks for its waypoint to be between gateways and its pods. */
export function usesForIngress(
  picture: Picture,
  user: Pick<WaypointUser, 'namespace' | 'labels'>,
): boolean {
  const owner = picture.get('Namespace', '', user.namespace);
  const value =
    user.labels.get(INGRESS_USE_WAYPOINT) ?? owner?.metadata.labels.get(INGRESS_USE_WAYPOINT);
  return value !== undefined && /^(?:1|t|true)$/i.test(value);
}

function resolveCanary(
  picture: Picture,
  settings: MeshSettings,
  user: WaypointUser,
  wish: Wish,
  primary: GatewayAddress,
): {
  weighted: WaypointBinding['weightedWaypoints'];
  gateways: readonly string[];
  note: string;
} {
  const { canary } = wish;
  if (canary === undefined) return { weighted: [], gateways: [], note: '' };
  const failed = (reason: string, message: string): ReturnType<typeof resolveCanary> => ({
    ...{ weighted: [], gateways: [] },
    note: `. Canary is not used: ${reason}: ${message}`,
  });
  const weight = /^\d{1,3}$/.test(canary.weight) ? Number(canary.weight) : 101;
  if (weight > 100)
    return failed(
      'CanaryInvalidWeight',
      `${USE_WAYPOINT_CANARY_WEIGHT} must be a whole number from 0 to 100, found ${JSON.stringify(canary.weight.slice(0, 32))}`,
    );
  if (canary.name === wish.name && canary.namespace === wish.namespace)
    return failed('CanarySameAsPrimary', 'it is the primary waypoint');
  const gateway = picture.get('Gateway', canary.namespace, canary.name);
  const problem = findProblem(
    picture,
    settings,
    gateway,
    { ...wish, ...canary, inherited: false },
    user,
  );
  if (problem !== undefined) return failed(problem.reason, problem.message);
  const destination = gateway === undefined ? undefined : addressOf(picture, settings, gateway);
  if (destination === undefined) return failed('WaypointIsNotReady', 'it has no usable address');
  return {
    weighted: [
      { destination: primary, weight: 100 - weight },
      { destination, weight },
    ],
    gateways: [`${canary.namespace}/${canary.name}`],
    note: `. Canary ${canary.namespace}/${canary.name} gets ${weight} %`,
  };
}
