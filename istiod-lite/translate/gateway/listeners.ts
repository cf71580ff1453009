import { gatewayKey, type GatewayKey } from '../../../mesh/model/gateway-listener.ts';
import type { Gateway } from '../../../mesh/kubernetes/gateway.ts';
import type { Route } from '../../../mesh/kubernetes/route-backends.ts';
import { GATEWAY_GROUP } from '../../../mesh/kubernetes/route-references.ts';
import type { ListenerTls } from '../../../mesh/model/gateway-listener.ts';
import { isAllowedNamespace } from '../allowed-namespaces.ts';
import type { Picture } from '../../snapshot.ts';
import type { ListenerStatus } from '../settings.ts';
import { ingressName } from './ingress-class.ts';
import type { ListenerFlaw, ListenerSpec } from './listener-spec.ts';
import { listenerSetsOf, type ListenerOwner } from './listener-owners.ts';
import { listenerTls } from './listener-tls.ts';

/** A listener as it was written, and what became of it. */
export type EvaluatedListener = Readonly<{
  owner: ListenerOwner;
  spec: ListenerSpec;
  /** In lower case; '' for every name. */
  hostname: string;
  /** The kinds of routes that may attach. */
  supportedKinds: ListenerStatus['supportedKinds'];
  /** Why it is not served, whatever else holds. */
  unacceptable?: ListenerFlaw;
  conflict?: ListenerFlaw;
  /** What it refers to and cannot have. */
  unresolved?: ListenerFlaw;
  /** What clients speak TLS with. Holds keys. */
  tls?: ListenerTls;
  /** TLS goes on to the backends as it is. */
  passthrough?: true;
  /** It has to speak TLS and cannot. */
  blocked?: true;
}>;

/** Ports that the program of a gateway has for itself: admin, metrics, readiness, and those that capture has in pods. */
const OWN_PORTS: ReadonlySet<number> = new Set([
  ...[15000, 15001, 15006, 15008, 15020, 15021, 15053, 15080],
]);

/** What may attach, by protocol. */
const KINDS: ReadonlyMap<string, readonly Route['kind'][]> = new Map([
  ['HTTP', ['HTTPRoute', 'GRPCRoute']],
  ['HTTPS', ['HTTPRoute', 'GRPCRoute']],
  ['TLS', ['TLSRoute']],
  ['TCP', ['TCPRoute']],
  ['UDP', ['UDPRoute']],
]);

/** The key by which a gateway is told of itself: that of its account. */
export function keyOfGateway(gateway: Gateway): GatewayKey {
  return gatewayKey(gateway.ref.namespace, ingressName(gateway));
}

/** The listeners of a Gateway and of the ListenerSets that it takes, each judged by itself and beside the others. */
export function evaluateListeners(
  picture: Picture,
  gateway: Gateway,
): readonly EvaluatedListener[] {
  const evaluated: EvaluatedListener[] = [];
  for (const owner of [gateway, ...listenerSetsOf(picture, gateway)])
    evaluated.push(...evaluateOwner(picture, gateway, owner, evaluated));
  return evaluated;
}

/** @param before those of earlier owners: where one of them conflicts with a later one, it goes first. */
function evaluateOwner(
  picture: Picture,
  gateway: Gateway,
  owner: ListenerOwner,
  before: readonly EvaluatedListener[],
): readonly EvaluatedListener[] {
  const first = before.filter(({ conflict }) => conflict === undefined).map(({ spec }) => spec);
  const { listeners } = owner.spec;
  return listeners.map((spec): EvaluatedListener => {
    const { tls, passthrough, blocked, ...flaws } = listenerTls(picture, gateway, owner, spec);
    const unacceptable = whyUnacceptable(spec) ?? flaws.unacceptable;
    const conflict = findConflict(spec, [...first, ...listeners]);
    const { kinds, unresolved: ofKinds } = kindsOf(spec);
    const unresolved = flaws.unresolved ?? ofKinds;
    return {
      ...{ owner, spec },
      hostname: spec.hostname.toLowerCase(),
      supportedKinds: kinds.map((kind) => ({ group: GATEWAY_GROUP, kind })),
      ...(unacceptable && { unacceptable }),
      ...(conflict && { conflict }),
      ...(unresolved && { unresolved }),
      ...(tls && { tls }),
      ...(passthrough && { passthrough }),
      ...(blocked && { blocked }),
    };
  });
}

/** Whether its clients are served. A kind of routes that is not known is no reason not to serve those that are. */
export function isServed({
  unacceptable,
  conflict,
  unresolved,
  supportedKinds,
  blocked,
}: EvaluatedListener): boolean {
  if (unacceptable !== undefined || conflict !== undefined || blocked === true) return false;
  return unresolved === undefined || supportedKinds.length > 0;
}

/** Whether a listener lets routes of a kind and namespace attach. */
export function allowsRoute(
  picture: Picture,
  { spec, supportedKinds, owner }: EvaluatedListener,
  route: Route,
): boolean {
  if (!supportedKinds.some(({ kind }) => kind === route.kind)) return false;
  const { namespaces } = spec.allowedRoutes;
  return isAllowedNamespace(picture, namespaces, owner.ref.namespace, route.ref.namespace);
}

function whyUnacceptable({ protocol, port }: ListenerSpec): ListenerFlaw | undefined {
  if (!KINDS.has(protocol))
    return {
      reason: 'UnsupportedProtocol',
      message: `protocol ${protocol} is not supported, only ${[...KINDS.keys()].join(', ')}`,
    };
  if (OWN_PORTS.has(port))
    return { reason: 'PortUnavailable', message: `port ${port} is the gateway's own` };
  return undefined;
}

/** Two that a client could mean by the same port and name: of one Gateway neither is served, for none is first. */
function findConflict(
  listener: ListenerSpec,
  listeners: readonly ListenerSpec[],
): ListenerFlaw | undefined {
  const beside = listeners.filter(
    (other) =>
      other !== listener &&
      other.port === listener.port &&
      (other.protocol === 'UDP') === (listener.protocol === 'UDP'),
  );
  const unlike = beside.find(({ protocol }) => familyOf(protocol) !== familyOf(listener.protocol));
  if (unlike !== undefined)
    return {
      reason: 'ProtocolConflict',
      message: `listener ${unlike.name} has port ${unlike.port} with protocol ${unlike.protocol}`,
    };
  const hasNames =
    familyOf(listener.protocol) !== listener.protocol || listener.protocol === 'HTTP';
  const alike = beside.find(
    ({ hostname }) => !hasNames || hostname.toLowerCase() === listener.hostname.toLowerCase(),
  );
  if (alike === undefined) return undefined;
  return hasNames
    ? {
        reason: 'HostnameConflict',
        message: `listener ${alike.name} has port ${alike.port} with the same host name`,
      }
    : { reason: 'ProtocolConflict', message: `listener ${alike.name} has port ${alike.port} too` };
}

/** Protocols that can be told apart by the name that a client asks for share a port. */
function familyOf(protocol: string): string {
  return protocol === 'HTTPS' || protocol === 'TLS' ? 'names in TLS' : protocol;
}

function kindsOf({ protocol, allowedRoutes }: ListenerSpec): Readonly<{
  kinds: readonly Route['kind'][];
  unresolved?: ListenerFlaw;
}> {
  const carried = KINDS.get(protocol) ?? [];
  const asked = allowedRoutes.kinds;
  if (asked.length === 0) return { kinds: carried };
  const kinds = carried.filter((kind) =>
    asked.some((each) => each.group === GATEWAY_GROUP && each.kind === kind),
  );
  const unknown = asked.filter(
    ({ group, kind }) => group !== GATEWAY_GROUP || !carried.some((each) => each === kind),
  );
  if (unknown.length === 0) return { kinds };
  const names = unknown.map(({ group, kind }) => `${group}/${kind}`).join(', ');
  return {
    kinds,
    unresolved: {
      reason: 'InvalidRouteKinds',
      message: `a listener of protocol ${protocol} takes no ${names}`,
    },
  };
}
