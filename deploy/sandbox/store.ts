import { hash, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { MeshError } from '../../base/errors.ts';
import type { KubernetesObject, ObjectReference, SandboxPaths, WatchEvent } from './api.ts';
import { makeFolder, removeFile, writeFileAtomic } from './files.ts';
import { isClusterScoped } from './kinds.ts';

export type ChangeEvent = Exclude<WatchEvent, { type: 'BOOKMARK' }>;
export type ChangeListener = (event: ChangeEvent) => void;
type Metadata = KubernetesObject['metadata'];

/** Kinds with a part that the sandbox writes itself; istiod-lite's second folder. */
const CORE_KINDS = new Set([
  ...['Namespace', 'Node', 'Pod', 'Service', 'EndpointSlice', 'ServiceAccount'],
]);
/** Kinds that only the sandbox's controllers read. */
const WORKLOAD_KINDS = new Set(['Deployment']);

/** What a kind, a namespace and the ending leave of 255 bytes. */
const MAX_NAME_IN_FILE = 120;

/**
 * Every object of the sandbox, as an API server would hold them: values that are replaced whole, with versions, told
 * to listeners in the order of change, and mirrored to files that istiod-lite reads.
 */
export class ObjectStore {
  readonly #paths: SandboxPaths;
  readonly #objects = new Map<string, KubernetesObject>();
  readonly #byKind = new Map<string, Map<string, KubernetesObject>>();
  readonly #listeners = new Set<ChangeListener>();
  readonly #unwritten = new Set<string>();
  #version = 0;

  constructor(paths: SandboxPaths) {
    this.#paths = paths;
    for (const folder of [paths.userObjects, paths.coreObjects, paths.workloadObjects])
      makeFolder(folder);
  }

  get(kind: string, namespace: string, name: string): KubernetesObject | undefined {
    return this.#objects.get(keyOf(kind, namespace, name));
  }

  /** @throws {MeshError} ERR_NOT_FOUND */
  mustGet(reference: ObjectReference): KubernetesObject {
    const { kind, namespace = '', name } = reference;
    const found = this.get(kind, namespace, name);
    if (found !== undefined) return found;
    const message = `Cannot find ${formatReference(reference)}: there is none in this sandbox`;
    throw new MeshError('ERR_NOT_FOUND', 'local', message);
  }

  list(kind: string, namespace?: string): KubernetesObject[] {
    const all = [...(this.#byKind.get(kind)?.values() ?? [])];
    return namespace === undefined
      ? all
      : all.filter((object) => (object.metadata.namespace ?? '') === namespace);
  }

  kinds(): string[] {
    return [...this.#byKind.keys()];
  }

  /** Makes or replaces an object; uid, version and creation time are the store's. Equal contents change nothing. */
  put(object: KubernetesObject): KubernetesObject {
    const key = keyOfObject(object);
    const before = this.#objects.get(key);
    const metadata = {
      ...object.metadata,
      uid: before?.metadata.uid ?? object.metadata.uid ?? randomUUID(),
      creationTimestamp: before?.metadata.creationTimestamp ?? timestamp(),
      ...(before?.metadata.resourceVersion !== undefined && {
        resourceVersion: before.metadata.resourceVersion,
      }),
    };
    const next: KubernetesObject = { ...object, metadata };
    if (before !== undefined && sameContents(before, next)) return before;
    this.#version += 1;
    const stored = {
      ...next,
      metadata: { ...metadata, resourceVersion: String(this.#version) },
    };
    this.#objects.set(key, stored);
    this.#kind(object.kind).set(key, stored);
    this.#changed(key, { type: before === undefined ? 'ADDED' : 'MODIFIED', object: stored });
    return stored;
  }

  /** Replaces what `change` gives for the object as it is now; nothing when it is gone. */
  update(
    reference: ObjectReference,
    change: (object: KubernetesObject) => KubernetesObject,
  ): KubernetesObject | undefined {
    const object = this.get(reference.kind, reference.namespace ?? '', reference.name);
    return object === undefined ? undefined : this.put(change(object));
  }

  /** @returns false when there was none. */
  remove(reference: ObjectReference): boolean {
    const key = keyOf(reference.kind, reference.namespace ?? '', reference.name);
    const object = this.#objects.get(key);
    if (object === undefined) return false;
    this.#objects.delete(key);
    this.#kind(object.kind).delete(key);
    this.#version += 1;
    this.#changed(key, { type: 'DELETED', object });
    return true;
  }

  /** Tells every change from now on, after it is in the store. Listeners must not throw. @returns how to stop. */
  onChange(listener: ChangeListener): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** Writes what waits to be written; done by itself soon after a change. */
  flush(): void {
    for (const key of this.#unwritten) {
      const object = this.#objects.get(key);
      const path = this.#fileOf(key);
      if (object === undefined) removeFile(path);
      else writeFileAtomic(path, stringify(object, { aliasDuplicateObjects: false }));
    }
    this.#unwritten.clear();
  }

  #changed(key: string, event: ChangeEvent): void {
    // Not before the controllers have looked: what they make of a change is read together with it, a pod that has become
    // ready with its place behind the Service.
    if (this.#unwritten.size === 0)
      setImmediate(() => {
        setImmediate(() => {
          this.flush();
        });
      });
    this.#unwritten.add(key);
    for (const listener of this.#listeners) listener(event);
  }

  #kind(kind: string): Map<string, KubernetesObject> {
    const known = this.#byKind.get(kind);
    if (known !== undefined) return known;
    const objects = new Map<string, KubernetesObject>();
    this.#byKind.set(kind, objects);
    return objects;
  }

  #fileOf(key: string): string {
    const [kind = '', namespace = '', name = ''] = key.split('/');
    const folder = CORE_KINDS.has(kind)
      ? this.#paths.coreObjects
      : WORKLOAD_KINDS.has(kind)
        ? this.#paths.workloadObjects
        : this.#paths.userObjects;
    // '_' is in no Kubernetes name, so no two objects share a file.
    return join(folder, `${kind}_${namespace}_${fileName(name)}.yaml`);
  }
}

/** Names of objects are as long as those of files may be, which have a kind and a namespace beside them. */
function fileName(name: string): string {
  if (name.length <= MAX_NAME_IN_FILE) return name;
  return `${name.slice(0, MAX_NAME_IN_FILE - 65)}_${hash('sha256', name, 'hex')}`;
}

export function referenceOf(object: KubernetesObject): ObjectReference {
  const { namespace, name } = object.metadata;
  return { kind: object.kind, ...(namespace !== undefined && { namespace }), name };
}

/** `Pod shop/web-1`, `Node node-1`. */
export function formatReference(reference: ObjectReference): string {
  const { kind, namespace, name } = reference;
  return namespace === undefined || namespace === ''
    ? `${kind} ${name}`
    : `${kind} ${namespace}/${name}`;
}

/** The object with some of its metadata replaced; a null removes a label or annotation. */
export function withMetadata(
  object: KubernetesObject,
  change: Readonly<{
    labels?: Readonly<Record<string, string | null>>;
    annotations?: Readonly<Record<string, string | null>>;
    deletionTimestamp?: string;
  }>,
): KubernetesObject {
  const metadata: Metadata = {
    ...object.metadata,
    labels: mergeTexts(object.metadata.labels, change.labels),
    annotations: mergeTexts(object.metadata.annotations, change.annotations),
    ...(change.deletionTimestamp !== undefined && { deletionTimestamp: change.deletionTimestamp }),
  };
  return { ...object, metadata };
}

function mergeTexts(
  before: Readonly<Record<string, string>> | undefined,
  change: Readonly<Record<string, string | null>> | undefined,
): Record<string, string> {
  const merged = new Map(Object.entries(before ?? {}));
  for (const [key, value] of Object.entries(change ?? {}))
    if (value === null) merged.delete(key);
    else merged.set(key, value);
  return Object.fromEntries(merged);
}

/** As Kubernetes writes times: whole seconds. */
export function timestamp(atMs: number = Date.now()): string {
  return new Date(atMs).toISOString().replace(/\.\d+Z$/, 'Z');
}

function keyOf(kind: string, namespace: string, name: string): string {
  return `${kind}/${isClusterScoped(kind) ? '' : namespace}/${name}`;
}

function keyOfObject(object: KubernetesObject): string {
  return keyOf(object.kind, object.metadata.namespace ?? '', object.metadata.name);
}

function sameContents(a: KubernetesObject, b: KubernetesObject): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
