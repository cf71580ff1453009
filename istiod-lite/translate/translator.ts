import { describeError } from '../../base/errors.ts';
import { unreachable } from '../../base/unreachable.ts';
import type { AuthorizationPolicy } from '../../mesh/model/authorization.ts';
import { policyKey } from '../../mesh/model/authorization.ts';
import { serviceKey } from '../../mesh/model/service.ts';
import type { ObjectKey, ObjectReference } from '../../mesh/kubernetes/object.ts';
import type { KnownObject, KubernetesObject } from '../../mesh/kubernetes/resources.ts';
import {
  ADDRESS_TYPE,
  AUTHORIZATION_TYPE,
  contentVersion,
  encodeAddress,
  type AddressRecord,
} from '../../mesh/xds/codec.ts';
import { encodeAuthorization } from '../../mesh/xds/codec-policy.ts';
import { Breather } from '../breather.ts';
import { trackedPicture, type Picture, type Snapshot, type SnapshotChange } from '../snapshot.ts';
import {
  serviceEntryWorkloads,
  translateEndpointSlice,
  translateWorkloadEntry,
} from './external-workloads.ts';
import { staticStrictPolicy, translatePeerAuthentication } from './peer-authentication.ts';
import { translatePolicy } from './policies.ts';
import { waypointAccepted } from './policy-status.ts';
import { translateService, translateServiceEntry } from './services.ts';
import {
  NOTHING,
  type AllocateVip,
  type Condition,
  type MeshSettings,
  type Translation,
} from './settings.ts';
import type { VipAllocator } from './vips.ts';
import { translatePod } from './workloads.ts';

/** What proxies get, in the form it travels in. */
export type MeshResource = Readonly<{
  typeUrl: string;
  name: string;
  /** Of the bytes; equal bytes have equal versions. */
  version: string;
  bytes: Uint8Array;
  content: Readonly<AddressRecord | { kind: 'policy'; policy: AuthorizationPolicy }>;
}>;

/** Names of resources that are new, different or gone, by type. */
export type ResourceChange = Readonly<{
  revision: number;
  changed: ReadonlyMap<string, ReadonlySet<string>>;
}>;

export type ObjectStatus = Readonly<{
  ref: ObjectReference;
  conditions: readonly Condition[];
  vips: ReadonlyMap<string, string>;
}>;

export type TranslatorOptions = Readonly<{
  /** What is no single object's fault, or cannot be said in its status. */
  onTrouble?: (message: string) => void;
  /** Is called with each resource that is new or different, before it is published. */
  prepare?: (resource: MeshResource) => void;
}>;

type Unit = Readonly<{
  facts: ReadonlySet<string>;
  resources: ReadonlyMap<string, MeshResource>;
}>;

/** The unit that is made of no single object. */
const MESH_UNIT = 'mesh' as ObjectKey;

/**
 * Keeps the translation of a snapshot up to date: every object is a unit, which is made again when a fact that it asked
 * the picture for is no longer what it was.
 */
export class Translator {
  readonly #settings: MeshSettings;
  readonly #vips: VipAllocator;
  readonly #onTrouble: (message: string) => void;
  readonly #prepare: (resource: MeshResource) => void;
  readonly #units = new Map<ObjectKey, Unit>();
  readonly #dependents = new Map<string, Set<ObjectKey>>();
  readonly #owners = new Map<string, ObjectKey>();
  readonly #status = new Map<ObjectKey, ObjectStatus>();
  readonly #resources = new Map<string, Map<string, MeshResource>>([
    [ADDRESS_TYPE, new Map()],
    [AUTHORIZATION_TYPE, new Map()],
  ]);

  constructor(settings: MeshSettings, vips: VipAllocator, options: TranslatorOptions = {}) {
    this.#settings = settings;
    this.#vips = vips;
    this.#onTrouble = options.onTrouble ?? (() => undefined);
    this.#prepare = options.prepare ?? (() => undefined);
  }

  /** The resources of a type by name; `undefined` for a type that is not served. */
  resources(typeUrl: string): ReadonlyMap<string, MeshResource> | undefined {
    return this.#resources.get(typeUrl);
  }

  /** The status of every object that has one. */
  statuses(): Iterable<ObjectStatus> {
    return this.#status.values();
  }

  statusOf(key: ObjectKey): ObjectStatus | undefined {
    return this.#status.get(key);
  }

  /** Follows a change of the snapshot. */
  apply(snapshot: Snapshot, change: SnapshotChange): ResourceChange {
    const steps = this.#steps(snapshot, change);
    for (;;) {
      const { done, value } = steps.next();
      if (done) return value;
    }
  }

  /** As apply(), while others have the thread in between; the snapshot must not change until it has resolved. */
  async applyInSlices(snapshot: Snapshot, change: SnapshotChange): Promise<ResourceChange> {
    const breather = new Breather();
    const steps = this.#steps(snapshot, change);
    for (;;) {
      const { done, value } = steps.next();
      if (done) return value;
      const breath = breather.breathe();
      if (breath !== undefined) await breath;
    }
  }

  /** Translates an object a step; at the end everything is published at once. */
  *#steps(
    snapshot: Snapshot,
    { revision, changes, facts }: SnapshotChange,
  ): Generator<undefined, ResourceChange, undefined> {
    const dirty = new Set<ObjectKey>(changes.map(({ key }) => key));
    for (const fact of facts) for (const key of this.#dependents.get(fact) ?? []) dirty.add(key);
    if (!this.#units.has(MESH_UNIT)) dirty.add(MESH_UNIT);
    const made = new Map<ObjectKey, Unit | undefined>();
    for (const key of dirty) {
      const object = snapshot.find(key);
      if (key !== MESH_UNIT && object === undefined) made.set(key, undefined);
      else {
        const unit = this.#translate(snapshot, key, object);
        if (unit !== undefined) made.set(key, unit);
      }
      yield;
    }
    const changed = new Map([...this.#resources.keys()].map((type) => [type, new Set<string>()]));
    // First all that goes, then all that comes: a name may pass from one unit to another.
    for (const [key, unit] of made) this.#withdraw(key, unit, changed);
    for (const [key, unit] of made) this.#publish(key, unit, changed);
    return { revision, changed };
  }

  /** `undefined` when the unit stays as it is. */
  #translate(
    snapshot: Snapshot,
    key: ObjectKey,
    object: KubernetesObject | undefined,
  ): Unit | undefined {
    if (object?.kind === 'Other') return undefined;
    const facts = new Set<string>();
    const picture = trackedPicture(snapshot, facts);
    let translation: Translation;
    try {
      translation =
        object === undefined
          ? meshTranslation(picture, this.#settings)
          : translateObject(picture, this.#settings, object, (...request) =>
              this.#vips.allocate(...request),
            );
    } catch (error) {
      // One object must not stop all others; what it was translated to before stays.
      this.#onTrouble(`Cannot translate ${key}: ${describeError(error)}`);
      return undefined;
    }
    const resources = new Map<string, MeshResource>();
    for (const record of translation.addresses) add(resources, addressResource(record));
    for (const policy of translation.policies) add(resources, policyResource(policy));
    for (const resource of resources.values())
      if (!this.#isPublished(resource)) this.#prepare(resource);
    if (object !== undefined) this.#setStatus(object, translation);
    return { facts, resources };
  }

  #setStatus(object: KnownObject, { conditions, vips }: Translation): void {
    if (object.kind === 'ServiceEntry') this.#vips.release(object.ref, new Set(vips.keys()));
    if (conditions.length === 0 && vips.size === 0) this.#status.delete(object.key);
    else this.#status.set(object.key, { ref: object.ref, conditions, vips });
  }

  /** Takes away what a unit no longer has. */
  #withdraw(
    key: ObjectKey,
    unit: Unit | undefined,
    changed: ReadonlyMap<string, Set<string>>,
  ): void {
    const before = this.#units.get(key);
    for (const fact of before?.facts ?? []) {
      if (unit?.facts.has(fact) === true) continue;
      const dependents = this.#dependents.get(fact);
      dependents?.delete(key);
      if (dependents?.size === 0) this.#dependents.delete(fact);
    }
    for (const [id, resource] of before?.resources ?? []) {
      if (unit?.resources.has(id) === true || this.#owners.get(id) !== key) continue;
      this.#owners.delete(id);
      this.#resources.get(resource.typeUrl)?.delete(resource.name);
      changed.get(resource.typeUrl)?.add(resource.name);
    }
    if (unit !== undefined) return;
    this.#units.delete(key);
    const status = this.#status.get(key);
    if (status !== undefined) this.#vips.release(status.ref, new Set());
    this.#status.delete(key);
  }

  #publish(
    key: ObjectKey,
    unit: Unit | undefined,
    changed: ReadonlyMap<string, Set<string>>,
  ): void {
    if (unit === undefined) return;
    this.#units.set(key, unit);
    for (const fact of unit.facts) {
      const dependents = this.#dependents.get(fact);
      if (dependents === undefined) this.#dependents.set(fact, new Set([key]));
      else dependents.add(key);
    }
    for (const [id, resource] of unit.resources) {
      const owner = this.#owners.get(id);
      if (owner !== undefined && owner !== key) {
        this.#onTrouble(
          `Cannot publish ${resource.name} of ${key}: ${owner} has that name already`,
        );
        continue;
      }
      this.#owners.set(id, key);
      if (this.#isPublished(resource)) continue;
      this.#resources.get(resource.typeUrl)?.set(resource.name, resource);
      changed.get(resource.typeUrl)?.add(resource.name);
    }
  }

  #isPublished({ typeUrl, name, version }: MeshResource): boolean {
    return this.#resources.get(typeUrl)?.get(name)?.version === version;
  }
}

/** What one object is turned into, as the picture stands. */
export function translateObject(
  picture: Picture,
  settings: MeshSettings,
  object: KnownObject,
  allocateVip: AllocateVip,
): Translation {
  switch (object.kind) {
    case 'Pod':
      return translatePod(picture, settings, object);
    case 'Service':
      return translateService(picture, settings, object);
    case 'EndpointSlice':
      return translateEndpointSlice(picture, settings, object);
    case 'WorkloadEntry':
      return translateWorkloadEntry(picture, settings, object);
    case 'ServiceEntry': {
      const translation = translateServiceEntry(picture, settings, object, allocateVip);
      const workloads = serviceEntryWorkloads(picture, settings, object);
      return {
        ...translation,
        addresses: [
          ...translation.addresses,
          ...workloads.map((workload): AddressRecord => ({ kind: 'workload', workload })),
        ],
      };
    }
    case 'AuthorizationPolicy': {
      const condition = waypointAccepted(picture, settings, object);
      const translation = translatePolicy(object, settings);
      return condition === undefined ? translation : { ...translation, conditions: [condition] };
    }
    case 'PeerAuthentication': {
      const policy = translatePeerAuthentication(picture, settings, object);
      return policy === undefined ? NOTHING : { ...NOTHING, policies: [policy] };
    }
    case 'Namespace':
    case 'Node':
    case 'ServiceAccount':
    case 'Deployment':
    case 'ReplicaSet':
    case 'ConfigMap':
    case 'Gateway':
    case 'GatewayClass':
    case 'ReferenceGrant':
    // Told to waypoints by what it is attached to.
    case 'RequestAuthentication':
      return NOTHING;
    // Read and checked by themselves; nothing routes requests yet, so that no proxy and no status hears of them.
    case 'HTTPRoute':
    case 'GRPCRoute':
      return NOTHING;
    default:
      return unreachable(object);
  }
}

/** What follows from the mesh as a whole. */
export function meshTranslation(picture: Picture, settings: MeshSettings): Translation {
  const [any] = picture.all('PeerAuthentication');
  return any === undefined ? NOTHING : { ...NOTHING, policies: [staticStrictPolicy(settings)] };
}

function add(resources: Map<string, MeshResource>, resource: MeshResource): void {
  const id = `${resource.typeUrl} ${resource.name}`;
  // The same address twice in one ServiceEntry: the first counts.
  if (!resources.has(id)) resources.set(id, resource);
}

function addressResource(record: AddressRecord): MeshResource {
  const bytes = encodeAddress(record);
  const name =
    record.kind === 'workload'
      ? record.workload.uid
      : serviceKey(record.service.namespace, record.service.hostname);
  return {
    ...{ typeUrl: ADDRESS_TYPE, name, version: contentVersion(bytes), bytes },
    content: record,
  };
}

function policyResource(policy: AuthorizationPolicy): MeshResource {
  const bytes = encodeAuthorization(policy);
  return {
    ...{ typeUrl: AUTHORIZATION_TYPE, name: policyKey(policy.namespace, policy.name) },
    ...{ version: contentVersion(bytes), bytes, content: { kind: 'policy', policy } },
  };
}
