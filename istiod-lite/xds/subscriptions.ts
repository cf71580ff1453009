import { ADDRESS_TYPE } from '../../mesh/xds/codec.ts';
import { WAYPOINT_TYPES } from '../../mesh/xds/waypoint-codecs.ts';
import type { MeshResource } from '../translate/mesh-resource.ts';
import type { AddressIndex } from './address-index.ts';
import { frameOf, frameWithAliases, labelled } from './wire.ts';

/** What all subscriptions are answered from. */
export interface ResourceStore {
  resources(typeUrl: string): ReadonlyMap<string, MeshResource> | undefined;
  readonly addresses: AddressIndex;
}

/** What goes into one response. */
export type Answer = Readonly<{
  frames: Uint8Array[];
  removed: string[];
  /** Of what is in it, in order: resources, then removals. */
  names: string[];
}>;

/** The names of a request, as the client wrote them. */
export type SubscriptionRequest = Readonly<{
  subscribe: readonly string[];
  unsubscribe: readonly string[];
  /** Name to version of what the client still has. */
  initialVersions: ReadonlyMap<string, string>;
}>;

const WILDCARD = '*';
/** Names that one on-demand client may ask for; the largest cluster has fewer addresses. */
const MAX_NAMES = 500_000;

/** What one client wants of one type, and what it has not been told yet. */
export class Subscription {
  readonly typeUrl: string;
  readonly wildcard: boolean;
  readonly #store: ResourceStore;
  readonly #node: string;
  readonly #waypoint: string | undefined;
  /** The client learns of some resources of the type alone. */
  readonly #filtered: boolean;
  /** What the client asked for, by name or alias. Empty for a wildcard: 50,000 names a client would be 5 MB each. */
  readonly #wanted = new Set<string>();
  /** Names that were sent to a client that gets not all, so that it learns when they go. */
  readonly #sent = new Set<string>();
  #pending = new Set<string>();

  /**
   * @param options.node the client's own node: an on-demand client gets its pods unasked.
   * @param options.waypoint of a waypoint, `<namespace>/<name>` of its Gateway.
   */
  constructor(
    typeUrl: string,
    store: ResourceStore,
    first: SubscriptionRequest,
    options: Readonly<{ node: string; waypoint?: string }>,
  ) {
    this.typeUrl = typeUrl;
    this.#store = store;
    const { subscribe, unsubscribe } = first;
    const all = subscribe.includes(WILDCARD) || subscribe.length === 0;
    this.wildcard = all && !unsubscribe.includes(WILDCARD);
    this.#node = typeUrl === ADDRESS_TYPE ? options.node : '';
    this.#waypoint = options.waypoint;
    this.#filtered = WAYPOINT_TYPES.includes(typeUrl);
  }

  get hasPending(): boolean {
    return this.#pending.size > 0;
  }

  /** The answer to the first request; always sent, for clients wait for it even when it is empty. */
  begin(request: SubscriptionRequest): Answer {
    const answer: Answer = { frames: [], removed: [], names: [] };
    const { subscribe, initialVersions } = request;
    // What an on-demand client still holds, or was still waiting for, it still wants.
    const names = this.wildcard
      ? this.#existing().keys()
      : this.#subscribe(new Set([...subscribe, ...initialVersions.keys()]), answer);
    for (const name of names) {
      const resource = this.#find(name);
      if (resource === undefined) continue;
      if (initialVersions.get(name) === resource.version) this.#remember(name);
      else this.#send(answer, resource);
    }
    if (this.wildcard)
      for (const name of initialVersions.keys())
        if (this.#find(name) === undefined) answer.removed.push(name);
    this.#pending.clear();
    answer.names.push(...answer.removed);
    return answer;
  }

  /** The answer to later names; `undefined` when they ask for nothing new. */
  change({ subscribe, unsubscribe }: SubscriptionRequest): Answer | undefined {
    for (const name of unsubscribe) this.#wanted.delete(name);
    const asked = subscribe.filter((name) => name !== WILDCARD);
    if (this.wildcard || asked.length === 0) return undefined;
    const answer: Answer = { frames: [], removed: [], names: [] };
    for (const name of this.#subscribe(asked, answer)) {
      const resource = this.#find(name);
      if (resource !== undefined) this.#send(answer, resource);
    }
    answer.names.push(...answer.removed);
    return answer;
  }

  /** Marks what of a change concerns the client; true when something does. */
  mark(changed: Iterable<string>): boolean {
    for (const name of changed)
      if ((this.wildcard && !this.#filtered) || this.#concerns(name)) this.#pending.add(name);
    return this.hasPending;
  }

  /** Of what is waiting that which is there; what is gone waits on. `undefined` when nothing is there. */
  takePresent(): Answer | undefined {
    const gone = new Set<string>();
    const present = new Set<string>();
    for (const name of this.#pending) (this.#find(name) === undefined ? gone : present).add(name);
    if (present.size === 0) return undefined;
    this.#pending = present;
    const answer = this.take();
    this.#pending = gone;
    return answer;
  }

  /** All that is waiting, as it is now. */
  take(): Answer {
    const answer: Answer = { frames: [], removed: [], names: [] };
    const pending = this.#pending;
    this.#pending = new Set();
    for (const name of pending) {
      const resource = this.#find(name);
      if (resource !== undefined) this.#send(answer, resource);
      else {
        answer.removed.push(name);
        this.#sent.delete(name);
      }
    }
    answer.names.push(...answer.removed);
    return answer;
  }

  #existing(): ReadonlyMap<string, MeshResource> {
    return this.#store.resources(this.typeUrl) ?? new Map();
  }

  /** A resource as the client may know it. */
  #find(name: string): MeshResource | undefined {
    const resource = this.#existing().get(name);
    if (resource === undefined) return undefined;
    const { readers } = resource;
    if (this.#waypoint === undefined) return readers === undefined ? resource : undefined;
    return readers?.has(this.#waypoint) === false ? undefined : labelled(resource);
  }

  #send(answer: Answer, resource: MeshResource): void {
    const { name } = resource;
    const aliases =
      this.wildcard || this.typeUrl !== ADDRESS_TYPE ? [] : this.#store.addresses.aliasesOf(name);
    answer.frames.push(
      aliases.length === 0 ? frameOf(resource) : frameWithAliases(resource, aliases),
    );
    answer.names.push(name);
    this.#remember(name);
  }

  #remember(name: string): void {
    if (!this.wildcard || this.#filtered) this.#sent.add(name);
  }

  /** Adds names and returns what they stand for; those that stand for nothing are answered as removed. */
  #subscribe(asked: Iterable<string>, answer: Answer): Set<string> {
    const found = new Set<string>();
    for (const key of asked) {
      if (key === WILDCARD) continue;
      if (this.#wanted.size < MAX_NAMES) this.#wanted.add(key);
      const names = this.#namesOf(key);
      // An address in a service's network is no name of the service, so the answer must name it apart.
      if (names.length === 0) answer.removed.push(key);
      for (const name of [...names, ...this.#inRange(key)]) found.add(name);
    }
    if (this.#node !== '')
      for (const name of this.#store.addresses.onNode(this.#node)) found.add(name);
    return found;
  }

  /** A name or alias, and with a service all of its workloads. */
  #namesOf(key: string): string[] {
    const names = this.#find(key) === undefined ? [] : [key];
    if (this.typeUrl !== ADDRESS_TYPE) return names;
    names.push(...this.#store.addresses.named(key));
    return names.flatMap((name) => [name, ...this.#store.addresses.endpointsOf(name)]);
  }

  /** The services whose network holds an address, with their workloads. */
  #inRange(key: string): string[] {
    if (this.typeUrl !== ADDRESS_TYPE) return [];
    const { addresses } = this.#store;
    return addresses.inRange(key).flatMap((name) => [name, ...addresses.endpointsOf(name)]);
  }

  #concerns(name: string): boolean {
    if (this.#wanted.has(name) || this.#sent.has(name)) return true;
    if (this.#filtered) return this.wildcard && this.#find(name) !== undefined;
    if (this.typeUrl !== ADDRESS_TYPE) return false;
    const { addresses } = this.#store;
    if (this.#node !== '' && addresses.nodeOf(name) === this.#node) return true;
    if (addresses.aliasesOf(name).some((alias) => this.#wanted.has(alias))) return true;
    if (addresses.holds(name, this.#wanted)) return true;
    return addresses
      .servicesOf(name)
      .some((service) => this.#wanted.has(service) || this.#sent.has(service));
  }
}
