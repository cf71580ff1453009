import { intersectHostnames } from '../../../mesh/model/gateway-listener.ts';
import type { Gateway } from '../../../mesh/kubernetes/gateway.ts';
import { compareByAge, formatObject } from '../../../mesh/kubernetes/object.ts';
import type { Route } from '../../../mesh/kubernetes/route-backends.ts';
import type { ParentRef } from '../../../mesh/kubernetes/route-references.ts';
import { isGatewayRef, type Picture } from '../../snapshot.ts';
import { allowsRoute, evaluateListeners, type EvaluatedListener } from './listeners.ts';

/** A route at a listener, with those of its host names that the listener has; '' for all of the listener's. */
export type Attachment = Readonly<{ route: Route; hostnames: readonly string[] }>;

/** What came of one reference of a route to a Gateway. */
export type AttachOutcome = Readonly<
  | { kind: 'attached'; listeners: readonly EvaluatedListener[] }
  | {
      kind: 'refused';
      reason:
        | 'NoMatchingParent'
        | 'NotAllowedByListeners'
        | 'NoMatchingListenerHostname'
        | 'Conflicted';
      message: string;
    }
>;

/** The routes of a Gateway's listeners, oldest first. */
export class GatewayAttachments {
  readonly listeners: readonly EvaluatedListener[];
  readonly #picture: Picture;
  readonly #gateway: Gateway;
  readonly #attached = new Map<EvaluatedListener, Attachment[]>();

  constructor(picture: Picture, gateway: Gateway) {
    this.#picture = picture;
    this.#gateway = gateway;
    this.listeners = evaluateListeners(picture, gateway);
    const { namespace, name } = gateway.ref;
    const routes = [...picture.routesOfGateway(namespace, name)].sort(compareByAge);
    for (const route of routes) this.#attach(route);
  }

  /** The routes of one of the listeners. */
  of(listener: EvaluatedListener): readonly Attachment[] {
    return this.#attached.get(listener) ?? [];
  }

  /** Where one of a route's references leads: listeners, or why to none. */
  outcome(route: Route, ref: ParentRef): AttachOutcome {
    const name = formatObject(this.#gateway.ref);
    const meant = this.listeners.filter(
      ({ spec }) =>
        (ref.sectionName === undefined || spec.name === ref.sectionName) &&
        (ref.port === undefined || spec.port === ref.port),
    );
    if (meant.length === 0) {
      const port = ref.port === undefined ? '' : ` on port ${ref.port}`;
      const section = ref.sectionName === undefined ? '' : ` ${ref.sectionName}`;
      return refused('NoMatchingParent', `${name} has no listener${section}${port}`);
    }
    const { namespace } = this.#gateway.ref;
    const allowing = meant.filter((each) => allowsRoute(this.#picture, each, namespace, route));
    if (allowing.length === 0)
      return refused(
        'NotAllowedByListeners',
        `no listener of ${name} lets a ${route.kind} of namespace ${route.ref.namespace} attach`,
      );
    const named = allowing.filter((each) => commonHostnames(each, route).length > 0);
    if (named.length === 0)
      return refused(
        'NoMatchingListenerHostname',
        `no listener of ${name} has one of the host names ${hostnamesOf(route).join(', ')}`,
      );
    const free = named.filter((each) => this.#rival(each, route) === undefined);
    if (free.length > 0) return { kind: 'attached', listeners: free };
    const rivals = named.flatMap((each) => this.#rival(each, route) ?? []);
    const others = [...new Set(rivals.map(({ ref: other }) => formatObject(other)))].join(', ');
    return refused('Conflicted', `${others} is older and has the same host names`);
  }

  #attach(route: Route): void {
    const { namespace, name } = this.#gateway.ref;
    const listeners = new Set<EvaluatedListener>();
    for (const ref of route.spec.parentRefs) {
      if (!isGatewayRef(ref) || ref.name !== name) continue;
      if ((ref.namespace ?? route.ref.namespace) !== namespace) continue;
      const outcome = this.outcome(route, ref);
      if (outcome.kind === 'attached') for (const each of outcome.listeners) listeners.add(each);
    }
    for (const listener of listeners) {
      const hostnames = commonHostnames(listener, route);
      const there = this.#attached.get(listener);
      if (there === undefined) this.#attached.set(listener, [{ route, hostnames }]);
      else there.push({ route, hostnames });
    }
  }

  /** An older route of the other kind that has a host name in common: requests are matched by the rules of one kind alone. */
  #rival(listener: EvaluatedListener, route: Route): Route | undefined {
    if (route.kind !== 'HTTPRoute' && route.kind !== 'GRPCRoute') return undefined;
    const own = commonHostnames(listener, route);
    const rival = this.of(listener).find(
      (other) =>
        other.route.kind !== route.kind &&
        compareByAge(other.route, route) < 0 &&
        other.hostnames.some((one) =>
          own.some((name) => intersectHostnames(one, name) !== undefined),
        ),
    );
    return rival?.route;
  }
}

function refused(
  reason: Extract<AttachOutcome, { kind: 'refused' }>['reason'],
  message: string,
): AttachOutcome {
  return { kind: 'refused', reason, message };
}

/** The route's host names that have something in common with the listener's. */
function commonHostnames({ hostname, spec }: EvaluatedListener, route: Route): readonly string[] {
  const own = hostnamesOf(route);
  // Bytes have no name.
  if (spec.protocol === 'TCP' || spec.protocol === 'UDP') return [''];
  return own.filter((name) => intersectHostnames(name, hostname) !== undefined);
}

function hostnamesOf({ spec }: Route): readonly string[] {
  const names = 'hostnames' in spec ? spec.hostnames.map((name) => name.toLowerCase()) : [];
  return names.length === 0 ? [''] : names;
}
