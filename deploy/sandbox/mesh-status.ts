import { readFileSync, statSync, watch, type FSWatcher } from 'node:fs';
import { join } from 'node:path';
import type { KubernetesObject } from './api.ts';
import { isRecord } from './documents.ts';
import { makeFolder } from './files.ts';
import { statusOf } from './pod-status.ts';

/** The control plane's file in its STATUS_DIR: `{revision, objects: [{group, kind, namespace, name, conditions, parents?, ancestors?, addresses, listeners?}]}`. */
const STATUS_FILE = 'status.json';

type ObjectVerdict = Readonly<{
  conditions: readonly Readonly<Record<string, unknown>>[];
  /** Of a route. */
  parents: readonly Readonly<Record<string, unknown>>[];
  ancestors: readonly Readonly<Record<string, unknown>>[];
  addresses: readonly unknown[];
  /** Of a Gateway. */
  listeners: readonly unknown[];
}>;

/** What the control plane says of objects: whether it accepted them, and the addresses that it gave them. */
export class MeshStatus implements Disposable {
  readonly #path: string;
  readonly #watcher: FSWatcher;
  readonly #listeners = new Set<(changed: ReadonlySet<string>) => void>();
  /** Which writing of the file was read: each is a file of its own. */
  #read = '';
  #verdicts: ReadonlyMap<string, ObjectVerdict> = new Map();

  /** @param folder STATUS_DIR of the control plane. */
  constructor(folder: string) {
    this.#path = join(folder, STATUS_FILE);
    makeFolder(folder);
    this.#watcher = watch(folder, { persistent: false }, (_event, name) => {
      if (name === STATUS_FILE) this.#refresh();
    });
  }

  [Symbol.dispose](): void {
    this.#watcher.close();
  }

  /** Tells of which objects the control plane says something else: pass an object's statusKey(). @returns how to stop. */
  onChange(listener: (changed: ReadonlySet<string>) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** The objects, each with the control plane's conditions and addresses in its status. */
  addTo(objects: readonly KubernetesObject[]): KubernetesObject[] {
    this.#refresh();
    return objects.map((object) => this.addKnown(object));
  }

  /** As addTo(), by what has been read already: for a watcher, who is told of the rest when it comes. */
  addKnown(object: KubernetesObject): KubernetesObject {
    const verdict = this.#verdicts.get(statusKey(object));
    return verdict === undefined ? object : withVerdict(object, verdict);
  }

  #refresh(): void {
    try {
      const { ino, mtimeMs, size } = statSync(this.#path);
      const found = `${ino} ${mtimeMs} ${size}`;
      if (found === this.#read) return;
      const before = this.#verdicts;
      this.#verdicts = parseVerdicts(readFileSync(this.#path, 'utf8'));
      this.#read = found;
      const changed = differences(before, this.#verdicts);
      if (changed.size > 0) for (const tell of this.#listeners) tell(changed);
    } catch {
      // There is no control plane, or it has not written yet; what was read stays good.
    }
  }
}

function differences(
  before: ReadonlyMap<string, ObjectVerdict>,
  now: ReadonlyMap<string, ObjectVerdict>,
): ReadonlySet<string> {
  const keys = new Set([...before.keys(), ...now.keys()]);
  return new Set(
    [...keys].filter((key) => JSON.stringify(before.get(key)) !== JSON.stringify(now.get(key))),
  );
}

function withVerdict(object: KubernetesObject, verdict: ObjectVerdict): KubernetesObject {
  const status = statusOf(object);
  const types = new Set(verdict.conditions.map(({ type }) => type));
  const known: readonly unknown[] = Array.isArray(status['conditions']) ? status['conditions'] : [];
  const others = known.filter((condition) => !isRecord(condition) || !types.has(condition['type']));
  const conditions = [...others, ...verdict.conditions];
  const parents = [...entriesOfOthers(status['parents'], verdict.parents), ...verdict.parents];
  const { ancestors: ours } = verdict;
  const ancestors = [...entriesOfOthers(status['ancestors'], ours), ...ours];
  return {
    ...object,
    status: {
      ...status,
      ...(conditions.length > 0 && { conditions }),
      ...(parents.length > 0 && { parents }),
      ...(ancestors.length > 0 && { ancestors }),
      ...(verdict.addresses.length > 0 && { addresses: verdict.addresses }),
      ...(verdict.listeners.length > 0 && { listeners: verdict.listeners }),
    },
  };
}

/** What other controllers say of a route's parents, or of a policy's ancestors, is theirs. */
function entriesOfOthers(
  known: unknown,
  ours: readonly Readonly<Record<string, unknown>>[],
): unknown[] {
  const own = new Set(ours.map((each) => each['controllerName']));
  const all: readonly unknown[] = Array.isArray(known) ? known : [];
  return all.filter((parent) => !isRecord(parent) || !own.has(parent['controllerName']));
}

function parseVerdicts(text: string): ReadonlyMap<string, ObjectVerdict> {
  const file: unknown = JSON.parse(text);
  const objects = isRecord(file) && Array.isArray(file['objects']) ? file['objects'] : [];
  return new Map(
    objects.filter(isRecord).map(({ group, kind, namespace, name, ...verdict }) => [
      keyOf([group, kind, namespace, name]),
      {
        conditions: listOf(verdict['conditions']).filter(isRecord),
        parents: listOf(verdict['parents']).filter(isRecord),
        ancestors: listOf(verdict['ancestors']).filter(isRecord),
        addresses: listOf(verdict['addresses']),
        listeners: listOf(verdict['listeners']),
      },
    ]),
  );
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** What an object is called here. */
export function statusKey({ apiVersion, kind, metadata }: KubernetesObject): string {
  const group = apiVersion.includes('/') ? (apiVersion.split('/')[0] ?? '') : '';
  return keyOf([group, kind, metadata.namespace ?? '', metadata.name]);
}

function keyOf(parts: readonly unknown[]): string {
  return JSON.stringify(parts);
}
