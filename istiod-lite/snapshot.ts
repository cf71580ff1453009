import type { EndpointSlice } from '../mesh/kubernetes/core.ts';
import type { ServiceEntry } from '../mesh/kubernetes/networking.ts';
import type { ObjectKey } from '../mesh/kubernetes/object.ts';
import { backendsOf, type Route } from '../mesh/kubernetes/route-backends.ts';
import { GATEWAY_GROUP, type ParentRef } from '../mesh/kubernetes/route-references.ts';
import type {
  Kind,
  KnownObject,
  KubernetesObject,
  ObjectOf,
} from '../mesh/kubernetes/resources.ts';
import { isKind } from '../mesh/kubernetes/resources.ts';
import { GATEWAY_NAME, SLICE_SERVICE_NAME } from '../mesh/kubernetes/labels.ts';
import { targetsOf } from '../mesh/kubernetes/security.ts';
import { destinationsOf } from '../mesh/kubernetes/virtual-service.ts';
import type { ChangeSet } from './sources/source.ts';
import type { KeySource } from './translate/request-authentication.ts';

/** The kinds that waypoints route for. */
export type ParentKind = 'Service' | 'ServiceEntry';
/** What a route names as a backend: an object, or by its host. */
export type BackendKind = 'Service' | 'Hostname';

/** What translation reads: one consistent picture, which does not change while it is read. */
export interface Picture {
  get<K extends Kind>(kind: K, namespace: string, name: string): ObjectOf<K> | undefined;
  /** All of a kind in one namespace; '' for kinds that live in none. */
  list<K extends Kind>(kind: K, namespace: string): Iterable<ObjectOf<K>>;
  /** All of a kind. */
  all<K extends Kind>(kind: K): Iterable<ObjectOf<K>>;
  /** The slices with an endpoint that refers to the pod. */
  slicesOfPod(namespace: string, pod: string): Iterable<EndpointSlice>;
  /** The ServiceEntries of every namespace that have the host. */
  entriesOfHost(host: string): Iterable<ServiceEntry>;
  /** The pods that carry the label of a Gateway: its instances. */
  podsOfGateway(namespace: string, gateway: string): Iterable<ObjectOf<'Pod'>>;
  /** The AuthorizationPolicies of a namespace that select workloads by label. */
  selectingPolicies(namespace: string): Iterable<ObjectOf<'AuthorizationPolicy'>>;
  /** The routes of every namespace and kind that name the Service or ServiceEntry as a parent. */
  routesOf(kind: ParentKind, namespace: string, name: string): Iterable<Route>;
  /** The routes of every namespace and kind that name the Gateway as a parent. */
  routesOfGateway(namespace: string, name: string): Iterable<Route>;
  /** The routes that have the Service, or the host of anything (in no namespace), as a backend. */
  routesTo(kind: BackendKind, namespace: string, name: string): Iterable<Route>;
  /** The VirtualServices with a destination that is written so; one without dots is a name in the namespace, others are in none. */
  virtualServicesTo(host: string, namespace: string): Iterable<ObjectOf<'VirtualService'>>;
  /** The policies of a kind and namespace that name an object as their target. */
  targetingPolicies<K extends TargetingKind>(
    kind: K,
    namespace: string,
    target: Readonly<{ kind: string; name: string }>,
  ): Iterable<ObjectOf<K>>;
  /** The BackendPolicies of a namespace that have a Service of it as their fallback. */
  policiesFallingBackTo(namespace: string, service: string): Iterable<ObjectOf<'BackendPolicy'>>;
  /** The key set of an issuer, as it was last fetched. */
  keysOf(source: KeySource): string | undefined;
}

/** Kinds with `targetRefs`. */
export type TargetingKind =
  | 'AuthorizationPolicy'
  | 'RequestAuthentication'
  | 'RateLimitPolicy'
  | 'BackendTLSPolicy'
  | 'BackendPolicy';

/** An object that changed: at least one side is there. */
export type ObjectChange = Readonly<{
  key: ObjectKey;
  before: KubernetesObject | undefined;
  after: KubernetesObject | undefined;
}>;

/** What a change set did. */
export type SnapshotChange = Readonly<{
  revision: number;
  changes: readonly ObjectChange[];
  /** The facts about the picture that are not as before, named as dependenciesOf() names them. */
  facts: ReadonlySet<string>;
}>;

const ISTIO_GROUP = 'networking.istio.io';

type Index<T> = Map<string, Map<ObjectKey, T>>;

/** The picture of what is configured now, with a revision for every change set that changed it. */
export class Snapshot implements Picture {
  readonly #objects = new Map<ObjectKey, KubernetesObject>();
  /** Objects by facts; the same names serve to say who depends on what. */
  readonly #byFact: Index<KnownObject> = new Map();
  readonly #keySets = new Map<string, string>();
  #revision: number;

  /** @param revision the number of the picture before the first change. */
  constructor(revision = 0) {
    this.#revision = revision;
  }

  get revision(): number {
    return this.#revision;
  }

  get size(): number {
    return this.#objects.size;
  }

  objects(): Iterable<KubernetesObject> {
    return this.#objects.values();
  }

  find(key: ObjectKey): KubernetesObject | undefined {
    return this.#objects.get(key);
  }

  /** Takes a change set whole; `undefined` when it changes nothing. */
  apply({ upserts, removals, keys = [] }: ChangeSet): SnapshotChange | undefined {
    const changes: ObjectChange[] = [];
    const facts = new Set<string>();
    const replace = (key: ObjectKey, after: KubernetesObject | undefined): void => {
      const before = this.#objects.get(key);
      if (before === after) return;
      if (before !== undefined) this.#forget(key, before, facts);
      if (after === undefined) this.#objects.delete(key);
      else this.#remember(key, after, facts);
      changes.push({ key, before, after });
    };
    for (const key of removals) replace(key, undefined);
    for (const object of upserts) replace(object.key, object);
    for (const { source, keys: set } of keys) {
      const fact = keysFact(source);
      if (this.#keySets.get(fact) === set) continue;
      if (set === undefined) this.#keySets.delete(fact);
      else this.#keySets.set(fact, set);
      facts.add(fact);
    }
    if (changes.length === 0 && facts.size === 0) return undefined;
    this.#revision++;
    return { revision: this.#revision, changes, facts };
  }

  keysOf(source: KeySource): string | undefined {
    return this.#keySets.get(keysFact(source));
  }

  get<K extends Kind>(kind: K, namespace: string, name: string): ObjectOf<K> | undefined {
    for (const object of this.#byFact.get(factOf(kind, namespace, name))?.values() ?? [])
      if (isKind(object, kind)) return object;
    return undefined;
  }

  *list<K extends Kind>(kind: K, namespace: string): Iterable<ObjectOf<K>> {
    yield* this.#ofKind(kind, factOf(kind, namespace));
  }

  *all<K extends Kind>(kind: K): Iterable<ObjectOf<K>> {
    yield* this.#ofKind(kind, factOf(kind));
  }

  slicesOfPod(namespace: string, pod: string): Iterable<EndpointSlice> {
    return this.#ofKind('EndpointSlice', factOf('slices of pod', namespace, pod));
  }

  entriesOfHost(host: string): Iterable<ServiceEntry> {
    return this.#ofKind('ServiceEntry', factOf('entries of host', host));
  }

  podsOfGateway(namespace: string, gateway: string): Iterable<ObjectOf<'Pod'>> {
    return this.#ofKind('Pod', factOf('pods of gateway', namespace, gateway));
  }

  selectingPolicies(namespace: string): Iterable<ObjectOf<'AuthorizationPolicy'>> {
    return this.#ofKind('AuthorizationPolicy', factOf('selecting policies', namespace));
  }

  routesOf(kind: ParentKind, namespace: string, name: string): Iterable<Route> {
    return this.#routes(factOf('routes of', kind, namespace, name));
  }

  routesOfGateway(namespace: string, name: string): Iterable<Route> {
    return this.#routes(factOf('routes of', 'Gateway', namespace, name));
  }

  routesTo(kind: BackendKind, namespace: string, name: string): Iterable<Route> {
    return this.#routes(factOf('routes to', kind, namespace, name));
  }

  virtualServicesTo(host: string, namespace: string): Iterable<ObjectOf<'VirtualService'>> {
    return this.#ofKind('VirtualService', factOf('virtual services to', namespace, host));
  }

  *#routes(fact: string): Iterable<Route> {
    for (const object of this.#byFact.get(fact)?.values() ?? []) if (isRoute(object)) yield object;
  }

  targetingPolicies<K extends TargetingKind>(
    kind: K,
    namespace: string,
    target: Readonly<{ kind: string; name: string }>,
  ): Iterable<ObjectOf<K>> {
    return this.#ofKind(kind, targetFact(kind, namespace, target));
  }

  policiesFallingBackTo(namespace: string, service: string): Iterable<ObjectOf<'BackendPolicy'>> {
    return this.#ofKind('BackendPolicy', fallbackFact(namespace, service));
  }

  /** The pods of an account that are on a node. */
  podsOfAccount(
    node: string,
    namespace: string,
    serviceAccount: string,
  ): Iterable<ObjectOf<'Pod'>> {
    return this.#ofKind('Pod', factOf('pods of account', node, namespace, serviceAccount));
  }

  *#ofKind<K extends Kind>(kind: K, fact: string): Iterable<ObjectOf<K>> {
    for (const object of this.#byFact.get(fact)?.values() ?? [])
      if (isKind(object, kind)) yield object;
  }

  #remember(key: ObjectKey, object: KubernetesObject, facts: Set<string>): void {
    this.#objects.set(key, object);
    if (object.kind === 'Other') return;
    for (const fact of factsOf(object)) {
      facts.add(fact);
      const members = this.#byFact.get(fact);
      if (members === undefined) this.#byFact.set(fact, new Map([[key, object]]));
      else members.set(key, object);
    }
  }

  #forget(key: ObjectKey, object: KubernetesObject, facts: Set<string>): void {
    if (object.kind === 'Other') return;
    for (const fact of factsOf(object)) {
      facts.add(fact);
      const members = this.#byFact.get(fact);
      members?.delete(key);
      if (members?.size === 0) this.#byFact.delete(fact);
    }
  }
}

/** A picture that writes down which facts were asked for, so that the answer can be made again when one of them changes. */
export function trackedPicture(picture: Picture, facts: Set<string>): Picture {
  return {
    get: (kind, namespace, name) => {
      facts.add(factOf(kind, namespace, name));
      return picture.get(kind, namespace, name);
    },
    list: (kind, namespace) => {
      facts.add(factOf(kind, namespace));
      return picture.list(kind, namespace);
    },
    all: (kind) => {
      facts.add(factOf(kind));
      return picture.all(kind);
    },
    slicesOfPod: (namespace, pod) => {
      facts.add(factOf('slices of pod', namespace, pod));
      return picture.slicesOfPod(namespace, pod);
    },
    entriesOfHost: (host) => {
      facts.add(factOf('entries of host', host));
      return picture.entriesOfHost(host);
    },
    podsOfGateway: (namespace, gateway) => {
      facts.add(factOf('pods of gateway', namespace, gateway));
      return picture.podsOfGateway(namespace, gateway);
    },
    selectingPolicies: (namespace) => {
      facts.add(factOf('selecting policies', namespace));
      return picture.selectingPolicies(namespace);
    },
    routesTo: (kind, namespace, name) => {
      facts.add(factOf('routes to', kind, namespace, name));
      return picture.routesTo(kind, namespace, name);
    },
    virtualServicesTo: (host, namespace) => {
      facts.add(factOf('virtual services to', namespace, host));
      return picture.virtualServicesTo(host, namespace);
    },
    routesOf: (kind, namespace, name) => {
      facts.add(factOf('routes of', kind, namespace, name));
      return picture.routesOf(kind, namespace, name);
    },
    routesOfGateway: (namespace, name) => {
      facts.add(factOf('routes of', 'Gateway', namespace, name));
      return picture.routesOfGateway(namespace, name);
    },
    targetingPolicies: (kind, namespace, target) => {
      facts.add(targetFact(kind, namespace, target));
      return picture.targetingPolicies(kind, namespace, target);
    },
    policiesFallingBackTo: (namespace, service) => {
      facts.add(fallbackFact(namespace, service));
      return picture.policiesFallingBackTo(namespace, service);
    },
    keysOf: (source) => {
      facts.add(keysFact(source));
      return picture.keysOf(source);
    },
  };
}

/** A fact's name; "|" stands in no name of Kubernetes. */
function factOf(...parts: readonly string[]): string {
  return parts.join('|');
}

function keysFact(source: KeySource): string {
  return factOf('keys', source.kind, source.kind === 'uri' ? source.uri : source.issuer);
}

function targetFact(
  kind: TargetingKind,
  namespace: string,
  target: Readonly<{ kind: string; name: string }>,
): string {
  return factOf('policies of target', kind, namespace, target.kind, target.name);
}

function fallbackFact(namespace: string, service: string): string {
  return factOf('policies falling back to', namespace, service);
}

function targetFacts(policy: ObjectOf<TargetingKind>): string[] {
  const { kind, ref, spec } = policy;
  const targets = kind === 'BackendTLSPolicy' ? spec.targetRefs : targetsOf(policy);
  return targets.map((target) => targetFact(kind, ref.namespace, target));
}

/** Every index that an object is in. */
function factsOf(object: KnownObject): string[] {
  const { namespace, name } = object.ref;
  const facts = [
    factOf(object.kind),
    factOf(object.kind, namespace),
    factOf(object.kind, namespace, name),
  ];
  switch (object.kind) {
    case 'EndpointSlice':
      for (const { targetRef } of object.endpoints)
        if (targetRef?.kind === 'Pod')
          facts.push(factOf('slices of pod', targetRef.namespace || namespace, targetRef.name));
      return facts;
    case 'Pod': {
      const { nodeName, serviceAccountName } = object.spec;
      if (nodeName !== '')
        facts.push(factOf('pods of account', nodeName, namespace, serviceAccountName || 'default'));
      const gateway = object.metadata.labels.get(GATEWAY_NAME);
      if (gateway !== undefined) facts.push(factOf('pods of gateway', namespace, gateway));
      return facts;
    }
    case 'ServiceEntry':
      return [...facts, ...object.spec.hosts.map((host) => factOf('entries of host', host))];
    case 'AuthorizationPolicy':
      if (object.spec.selector !== undefined) facts.push(factOf('selecting policies', namespace));
      return [...facts, ...targetFacts(object)];
    case 'RequestAuthentication':
    case 'RateLimitPolicy':
    case 'BackendTLSPolicy':
      return [...facts, ...targetFacts(object)];
    case 'BackendPolicy': {
      const ref = object.spec.fallback?.backendRef;
      const fallback = ref === undefined ? [] : [fallbackFact(namespace, ref.name)];
      return [...facts, ...targetFacts(object), ...fallback];
    }
    case 'HTTPRoute':
    case 'GRPCRoute':
    case 'TCPRoute':
    case 'TLSRoute':
    case 'UDPRoute': {
      const parents = object.spec.parentRefs.flatMap((ref) => {
        const kind = isGatewayRef(ref) ? 'Gateway' : parentKind(ref);
        if (kind === undefined) return [];
        return [factOf('routes of', kind, ref.namespace ?? namespace, ref.name)];
      });
      const backends = backendsOf(object).flatMap(({ group, kind, ...ref }) => {
        if (group === '' && kind === 'Service')
          return [factOf('routes to', kind, ref.namespace ?? namespace, ref.name)];
        if (group !== ISTIO_GROUP || kind !== 'Hostname') return [];
        return [factOf('routes to', kind, '', ref.name)];
      });
      return [...facts, ...new Set([...parents, ...backends])];
    }
    case 'VirtualService': {
      const hosts = destinationsOf(object).map(({ host }) => host.toLowerCase());
      const destinations = hosts.map((host) =>
        factOf('virtual services to', host.includes('.') ? '' : namespace, host),
      );
      return [...facts, ...new Set(destinations)];
    }
    default:
      return facts;
  }
}

/** Whether a reference of a route means a Gateway. */
export function isGatewayRef({ group, kind }: ParentRef): boolean {
  return group === GATEWAY_GROUP && kind === 'Gateway';
}

/** Which of the kinds a reference of a route means; `undefined` for others, such as a Gateway. */
export function parentKind({ group, kind }: ParentRef): ParentKind | undefined {
  if (group === '' && kind === 'Service') return kind;
  if (group === ISTIO_GROUP && kind === 'ServiceEntry') return kind;
  return undefined;
}

function isRoute(object: KnownObject): object is Route {
  const { kind } = object;
  return ['HTTPRoute', 'GRPCRoute', 'TCPRoute', 'TLSRoute', 'UDPRoute'].includes(kind);
}

/** The Service that a slice belongs to. */
export function serviceOfSlice(slice: EndpointSlice): string | undefined {
  return slice.metadata.labels.get(SLICE_SERVICE_NAME);
}
