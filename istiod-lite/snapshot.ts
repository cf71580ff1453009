import type { EndpointSlice } from '../mesh/kubernetes/core.ts';
import type { ServiceEntry } from '../mesh/kubernetes/networking.ts';
import type { ObjectKey } from '../mesh/kubernetes/object.ts';
import { isRoute, type Route } from '../mesh/kubernetes/route-backends.ts';
import type { ParentKind } from '../mesh/kubernetes/route-references.ts';
import {
  isKind,
  type Kind,
  type KnownObject,
  type KubernetesObject,
  type ObjectOf,
} from '../mesh/kubernetes/resources.ts';
import { factName, factsOf, type BackendKind, type TargetingKind } from './facts.ts';
import type { ChangeSet } from './sources/source.ts';
import type { KeySource } from './translate/request-authentication.ts';

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
  /** The same of a ListenerSet. */
  routesOfListenerSet(namespace: string, name: string): Iterable<Route>;
  /** The ListenerSets of every namespace that name the Gateway as theirs. */
  listenerSetsOf(namespace: string, name: string): Iterable<ObjectOf<'ListenerSet'>>;
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
  /** The facts about the picture that are not as before, as factName names them. */
  facts: ReadonlySet<string>;
}>;

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
      const fact = factName.keysOf(source);
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
    return this.#keySets.get(factName.keysOf(source));
  }

  get<K extends Kind>(kind: K, namespace: string, name: string): ObjectOf<K> | undefined {
    for (const object of this.#byFact.get(factName.object(kind, namespace, name))?.values() ?? [])
      if (isKind(object, kind)) return object;
    return undefined;
  }

  *list<K extends Kind>(kind: K, namespace: string): Iterable<ObjectOf<K>> {
    yield* this.#ofKind(kind, factName.kindIn(kind, namespace));
  }

  *all<K extends Kind>(kind: K): Iterable<ObjectOf<K>> {
    yield* this.#ofKind(kind, factName.kind(kind));
  }

  slicesOfPod(namespace: string, pod: string): Iterable<EndpointSlice> {
    return this.#ofKind('EndpointSlice', factName.slicesOfPod(namespace, pod));
  }

  entriesOfHost(host: string): Iterable<ServiceEntry> {
    return this.#ofKind('ServiceEntry', factName.entriesOfHost(host));
  }

  podsOfGateway(namespace: string, gateway: string): Iterable<ObjectOf<'Pod'>> {
    return this.#ofKind('Pod', factName.podsOfGateway(namespace, gateway));
  }

  selectingPolicies(namespace: string): Iterable<ObjectOf<'AuthorizationPolicy'>> {
    return this.#ofKind('AuthorizationPolicy', factName.selectingPolicies(namespace));
  }

  routesOf(kind: ParentKind, namespace: string, name: string): Iterable<Route> {
    return this.#routes(factName.routesOf(kind, namespace, name));
  }

  routesOfGateway(namespace: string, name: string): Iterable<Route> {
    return this.#routes(factName.routesOf('Gateway', namespace, name));
  }

  routesOfListenerSet(namespace: string, name: string): Iterable<Route> {
    return this.#routes(factName.routesOf('ListenerSet', namespace, name));
  }

  listenerSetsOf(namespace: string, name: string): Iterable<ObjectOf<'ListenerSet'>> {
    return this.#ofKind('ListenerSet', factName.listenerSetsOf(namespace, name));
  }

  routesTo(kind: BackendKind, namespace: string, name: string): Iterable<Route> {
    return this.#routes(factName.routesTo(kind, namespace, name));
  }

  virtualServicesTo(host: string, namespace: string): Iterable<ObjectOf<'VirtualService'>> {
    return this.#ofKind('VirtualService', factName.virtualServicesTo(host, namespace));
  }

  *#routes(fact: string): Iterable<Route> {
    for (const object of this.#byFact.get(fact)?.values() ?? []) if (isRoute(object)) yield object;
  }

  targetingPolicies<K extends TargetingKind>(
    kind: K,
    namespace: string,
    target: Readonly<{ kind: string; name: string }>,
  ): Iterable<ObjectOf<K>> {
    return this.#ofKind(kind, factName.targetingPolicies(kind, namespace, target));
  }

  policiesFallingBackTo(namespace: string, service: string): Iterable<ObjectOf<'BackendPolicy'>> {
    return this.#ofKind('BackendPolicy', factName.policiesFallingBackTo(namespace, service));
  }

  /** The pods of an account that are on a node. */
  podsOfAccount(
    node: string,
    namespace: string,
    serviceAccount: string,
  ): Iterable<ObjectOf<'Pod'>> {
    return this.#ofKind('Pod', factName.podsOfAccount(node, namespace, serviceAccount));
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
