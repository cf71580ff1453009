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
import { sorted } from '../../mesh/xds/codec-values.ts';
import { encodeTargetSecurity, TARGET_SECURITY_TYPE } from '../../mesh/xds/codec-http-policy.ts';
import { encodeWaypointConfigs, WAYPOINT_TYPES } from '../../mesh/xds/waypoint-codecs.ts';
import { Breather } from '../breather.ts';
import { trackedPicture, type Picture, type Snapshot, type SnapshotChange } from '../snapshot.ts';
import {
  serviceEntryWorkloads,
  translateEndpointSlice,
  translateWorkloadEntry,
} from './external-workloads.ts';
import { staticStrictPolicy, translatePeerAuthentication } from './peer-authentication.ts';
import { translatePolicy } from './policies.ts';
import { classConditions, translateGateway } from './gateways.ts';
import { rateLimitCondition } from './rate-limits.ts';
import { routeParents } from './route-status.ts';
import { waypointAccepted } from './policy-status.ts';
import { translateService, translateServiceEntry } from './services.ts';
import {
  NOTHING,
  type AllocateVip,
  type Condition,
  type GatewayStatus,
  type GeneratedObject,
  type MeshSettings,
  type RouteParentStatus,
  type Translation,
  type WaypointConfig,
  type WaypointSecurity,
} from './settings.ts';
import { destinationRuleCondition } from './traffic-policies.ts';
import type { VipAllocator } from './vips.ts';
import { virtualServiceCondition } from './virtual-status.ts';
import { withWaypointConfigs } from './waypoint-configs.ts';
import { WAYPOINT_GATEWAY_CLASS } from './waypoint-objects.ts';
import { translatePod } from './workloads.ts';

/** What proxies get, in the form it travels in. */
export type MeshResource = Readonly<{
  typeUrl: string;
  name: string;
  /** Of the bytes; equal bytes have equal versions. */
  version: string;
  bytes: Uint8Array;
  /** Of labels, which only waypoints are told; '' where there are none. */
  labelsVersion: string;
  /** The waypoints that may have it, `<namespace>/<name>` of their Gateways; absent: every proxy may. */
  readers?: ReadonlySet<string>;
  content: Readonly<
    AddressRecord | { kind: 'policy'; policy: AuthorizationPolicy } | { kind: 'waypoint config' }
  >;
}>;

type Names = ReadonlyMap<string, ReadonlySet<string>>;

/** Names of resources that are new, different or gone, by type. */
export type ResourceChange = Readonly<{
  revision: number;
  changed: Names;
  /** Those that are different for waypoints alone. */
  changedForWaypoints: Names;
}>;

type Changes = Readonly<
  Record<'changed' | 'changedForWaypoints', ReadonlyMap<string, Set<string>>>
>;

export type ObjectStatus = Readonly<{
  ref: ObjectReference;
  conditions: readonly Condition[];
  /** Of a route, by what it attaches to. */
  parents: readonly RouteParentStatus[];
  vips: ReadonlyMap<string, string>;
  gateway?: GatewayStatus;
}>;

/** Those of the object, and those that a route has with each of its parents. */
export function allConditions({ conditions, parents }: ObjectStatus): readonly Condition[] {
  return [...conditions, ...parents.flatMap((parent) => parent.conditions)];
}

export type TranslatorOptions = Readonly<{
  /** What is no single object's fault, or cannot be said in its status. */
  onTrouble?: (message: string) => void;
  /** Is called with each resource that is new or different, before it is published. */
  prepare?: (resource: MeshResource) => void;
}>;

type Unit = Readonly<{
  facts: ReadonlySet<string>;
  resources: ReadonlyMap<string, MeshResource>;
  generated: readonly GeneratedObject[];
}>;

const NOBODY: ReadonlySet<string> = new Set();

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
    ...WAYPOINT_TYPES.map((type) => [type, new Map()] as const),
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

  /** Every object that is to exist because of others. */
  *generated(): Iterable<GeneratedObject> {
    for (const { generated } of this.#units.values()) yield* generated;
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
    const none = (): Map<string, Set<string>> =>
      new Map([...this.#resources.keys()].map((type) => [type, new Set()]));
    const all = { changed: none(), changedForWaypoints: none() };
    // First all that goes, then all that comes: a name may pass from one unit to another.
    for (const [key, unit] of made) this.#withdraw(key, unit, all);
    for (const [key, unit] of made) this.#publish(key, unit, all);
    return { revision, ...all };
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
    for (const config of translation.waypointConfigs)
      for (const resource of waypointResources(config)) add(resources, resource);
    for (const security of translation.waypointSecurities ?? [])
      add(resources, securityResource(security));
    for (const resource of resources.values())
      if (!this.#isPublished(resource)) this.#prepare(resource);
    if (object !== undefined) this.#setStatus(object, translation);
    return { facts, resources, generated: translation.generated ?? [] };
  }

  #setStatus(object: KnownObject, { conditions, parents, vips, gateway }: Translation): void {
    if (object.kind === 'ServiceEntry') this.#vips.release(object.ref, new Set(vips.keys()));
    if (conditions.length === 0 && parents.length === 0 && vips.size === 0)
      this.#status.delete(object.key);
    else
      this.#status.set(object.key, {
        ...{ ref: object.ref, conditions, parents, vips },
        ...(gateway && { gateway }),
      });
  }

  /** Takes away what a unit no longer has. */
  #withdraw(key: ObjectKey, unit: Unit | undefined, { changed }: Changes): void {
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
    { changed, changedForWaypoints }: Changes,
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
      const ofType = this.#resources.get(resource.typeUrl);
      const onlyLabels = ofType?.get(resource.name)?.version === resource.version;
      ofType?.set(resource.name, resource);
      const names = onlyLabels && resource.readers === undefined ? changedForWaypoints : changed;
      names.get(resource.typeUrl)?.add(resource.name);
    }
  }

  #isPublished({ typeUrl, name, version, labelsVersion, readers }: MeshResource): boolean {
    const known = this.#resources.get(typeUrl)?.get(name);
    if (known?.version !== version || known.labelsVersion !== labelsVersion) return false;
    const before = known.readers ?? NOBODY;
    const after = readers ?? NOBODY;
    return before.size === after.size && before.isSubsetOf(after);
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
      return withWaypointConfigs(
        ...([picture, settings, object] as const),
        translateService(picture, settings, object),
      );
    case 'EndpointSlice':
      return translateEndpointSlice(picture, settings, object);
    case 'WorkloadEntry':
      return translateWorkloadEntry(picture, settings, object);
    case 'ServiceEntry': {
      const translation = translateServiceEntry(picture, settings, object, allocateVip);
      const workloads = serviceEntryWorkloads(picture, settings, object);
      return withWaypointConfigs(picture, settings, object, {
        ...translation,
        addresses: [
          ...translation.addresses,
          ...workloads.map((workload): AddressRecord => ({ kind: 'workload', workload })),
        ],
      });
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
    case 'Gateway':
      return translateGateway(picture, settings, object);
    case 'Namespace':
    case 'Node':
    case 'ServiceAccount':
    case 'Deployment':
    case 'ReplicaSet':
    case 'ConfigMap':
    case 'ReferenceGrant':
    // Told to waypoints by what it is attached to.
    case 'RequestAuthentication':
      return NOTHING;
    case 'GatewayClass':
      return { ...NOTHING, conditions: classConditions(object) };
    case 'HTTPRoute':
    case 'GRPCRoute':
    case 'TCPRoute':
    case 'TLSRoute':
      return { ...NOTHING, parents: routeParents(picture, settings, object) };
    case 'RateLimitPolicy':
      return { ...NOTHING, conditions: [rateLimitCondition(picture, settings, object)] };
    case 'DestinationRule':
      return { ...NOTHING, conditions: [destinationRuleCondition(picture, settings, object)] };
    case 'VirtualService':
      return { ...NOTHING, conditions: [virtualServiceCondition(picture, settings, object)] };
    default:
      return unreachable(object);
  }
}

/** What follows from the mesh as a whole. */
export function meshTranslation(picture: Picture, settings: MeshSettings): Translation {
  const [any] = picture.all('PeerAuthentication');
  const policies = any === undefined ? [] : [staticStrictPolicy(settings)];
  return { ...NOTHING, policies, generated: [WAYPOINT_GATEWAY_CLASS] };
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
    ...{ labelsVersion: labelsVersion(record), content: record },
  };
}

function policyResource(policy: AuthorizationPolicy): MeshResource {
  const bytes = encodeAuthorization(policy);
  return {
    ...{ typeUrl: AUTHORIZATION_TYPE, name: policyKey(policy.namespace, policy.name) },
    ...{ version: contentVersion(bytes), bytes, labelsVersion: '' },
    content: { kind: 'policy', policy },
  };
}

function securityResource({ security, readers }: WaypointSecurity): MeshResource {
  const bytes = encodeTargetSecurity(security);
  return {
    ...{ typeUrl: TARGET_SECURITY_TYPE, name: security.target, version: contentVersion(bytes) },
    ...{ bytes, labelsVersion: '', readers, content: { kind: 'waypoint config' } },
  };
}

function waypointResources({ service, configs, readers }: WaypointConfig): MeshResource[] {
  return encodeWaypointConfigs(configs).map(({ typeUrl, bytes }) => ({
    ...{ typeUrl, name: service, version: contentVersion(bytes), bytes, labelsVersion: '' },
    ...{ readers, content: { kind: 'waypoint config' } },
  }));
}

/** Cheaper than the version of all bytes with them, which few of many proxies ask for. */
function labelsVersion(record: AddressRecord): string {
  const labels = record.kind === 'workload' ? record.workload.labels : undefined;
  if (labels === undefined || labels.size === 0) return '';
  return contentVersion(Buffer.from(JSON.stringify(sorted(labels))));
}
