import { describeError } from '../../base/errors.ts';
import type { ObjectKey, ObjectReference } from '../../mesh/kubernetes/object.ts';
import type { KnownObject, KubernetesObject } from '../../mesh/kubernetes/resources.ts';
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../../mesh/xds/codec.ts';
import { WAYPOINT_TYPES } from '../../mesh/xds/waypoint-codecs.ts';
import { Breather } from '../breather.ts';
import type { Snapshot, SnapshotChange } from '../snapshot.ts';
import { trackedPicture } from '../tracked-picture.ts';
import { resourcesOf, type MeshResource } from './mesh-resource.ts';
import type {
  Condition,
  GatewayStatus,
  GeneratedObject,
  MeshSettings,
  PolicyAncestorStatus,
  RouteParentStatus,
  Translation,
} from './settings.ts';
import { meshTranslation, translateObject } from './translate-object.ts';
import type { VipAllocator } from './vips.ts';

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
  /** Of the object as it was translated. */
  generation: number;
  conditions: readonly Condition[];
  /** Of a route, by what it attaches to. */
  parents: readonly RouteParentStatus[];
  /** Of a policy, by whom it is in force for. */
  ancestors: readonly PolicyAncestorStatus[];
  vips: ReadonlyMap<string, string>;
  gateway?: GatewayStatus;
}>;

/** Those of the object, and those that it has with each of its parents or ancestors. */
export function allConditions({
  conditions,
  parents,
  ancestors,
}: ObjectStatus): readonly Condition[] {
  return [...conditions, ...[...parents, ...ancestors].flatMap((each) => each.conditions)];
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
    for (const resource of resourcesOf(translation)) {
      const id = `${resource.typeUrl} ${resource.name}`;
      // The same address twice in one ServiceEntry: the first counts.
      if (!resources.has(id)) resources.set(id, resource);
    }
    for (const resource of resources.values())
      if (!this.#isPublished(resource)) this.#prepare(resource);
    if (object !== undefined) this.#setStatus(object, translation);
    return { facts, resources, generated: translation.generated ?? [] };
  }

  #setStatus(object: KnownObject, translation: Translation): void {
    const { conditions, parents, ancestors = [], vips, gateway } = translation;
    if (object.kind === 'ServiceEntry') this.#vips.release(object.ref, new Set(vips.keys()));
    if (conditions.length + parents.length + ancestors.length + vips.size === 0)
      this.#status.delete(object.key);
    else
      this.#status.set(object.key, {
        ...{ ref: object.ref, generation: object.metadata.generation },
        ...{ conditions, parents, ancestors, vips },
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
