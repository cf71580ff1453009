import { readFileSync, watch } from 'node:fs';
import { join } from 'node:path';
import { describeError, errorCode } from '../../base/errors.ts';
import { GATEWAY_MANAGED } from '../../mesh/kubernetes/labels.ts';
import type { KubernetesObject } from './api.ts';
import { RESTARTED_AT } from './deployments.ts';
import { isRecord } from './documents.ts';
import { isClusterScoped } from './kinds.ts';
import { mergeApplied } from './merge-applied.ts';
import { formatReference, referenceOf, type ObjectStore } from './store.ts';

/** The control plane's file in its GENERATED_DIR: `{objects: [...]}`. */
const FILE = 'generated.json';

/** The objects that the control plane asks to be run. What was not asked for by it is never touched. */
export class GeneratedObjects implements Disposable {
  readonly #path: string;
  readonly #close: () => void;
  readonly #onProblem: (message: string) => void;
  #wanted: readonly KubernetesObject[] | undefined;
  #problem = '';

  /** @param onChange is called when the control plane asks for something else. */
  constructor(folder: string, onChange: () => void, onProblem: (message: string) => void) {
    this.#path = join(folder, FILE);
    this.#onProblem = onProblem;
    // The file is replaced, so the folder is watched.
    const watcher = watch(folder, { persistent: false }, (_event, name) => {
      if (name !== FILE) return;
      this.#read();
      onChange();
    });
    this.#close = () => {
      watcher.close();
    };
    this.#read();
  }

  [Symbol.dispose](): void {
    this.#close();
  }

  /** Makes what is asked for, and removes what was made and is asked for no more. */
  reconcile(store: ObjectStore, remove: (object: KubernetesObject) => void): void {
    if (this.#wanted === undefined) return; // nothing was asked yet, by this control plane or an earlier one
    const wanted = new Map(
      this.#wanted
        .filter((object) => hasHome(store, object))
        .map((object) => [formatReference(referenceOf(object)), object]),
    );
    for (const kind of ['Deployment', 'Service', 'ServiceAccount', 'GatewayClass'])
      for (const object of store.list(kind))
        if (isGenerated(object) && !wanted.has(formatReference(referenceOf(object))))
          remove(object);
    for (const object of wanted.values()) {
      const { kind, namespace = '', name } = referenceOf(object);
      const before = store.get(kind, namespace, name);
      if (before === undefined) store.put(object);
      // What somebody else has made under that name is theirs.
      else if (isGenerated(before))
        store.put(mergeApplied(before, keepOthersWishes(before, object)));
    }
  }

  #read(): void {
    try {
      const file: unknown = JSON.parse(readFileSync(this.#path, 'utf8'));
      const objects: readonly unknown[] =
        isRecord(file) && Array.isArray(file['objects']) ? file['objects'] : [];
      this.#wanted = objects.filter(isObject);
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return;
      const message = `Cannot read what the control plane asks to be run: ${describeError(error)}`;
      if (message !== this.#problem) this.#onProblem(message);
      this.#problem = message;
    }
  }
}

function isObject(value: unknown): value is KubernetesObject {
  if (!isRecord(value) || typeof value['kind'] !== 'string') return false;
  const { metadata } = value;
  return isRecord(metadata) && typeof metadata['name'] === 'string';
}

function isGenerated(object: KubernetesObject): boolean {
  return object.metadata.labels?.[GATEWAY_MANAGED] !== undefined;
}

/** A namespace that is going takes nothing new. */
function hasHome(store: ObjectStore, object: KubernetesObject): boolean {
  if (isClusterScoped(object.kind)) return true;
  const home = store.get('Namespace', '', object.metadata.namespace ?? '');
  return home !== undefined && home.metadata.deletionTimestamp === undefined;
}

/**
 * What others say of a Deployment by verbs of their own, and the control plane says nothing of, stays: how many replicas it
 * has, and when it was restarted.
 */
function keepOthersWishes(before: KubernetesObject, wanted: KubernetesObject): KubernetesObject {
  if (wanted.kind !== 'Deployment') return wanted;
  const replicas = valueAt(before, 'spec', 'replicas');
  const restartedAt = valueAt(before, 'spec', 'template', 'metadata', 'annotations', RESTARTED_AT);
  const spec = recordAt(wanted, 'spec');
  const template = recordAt(spec, 'template');
  const metadata = recordAt(template, 'metadata');
  const annotations = { ...recordAt(metadata, 'annotations') };
  if (restartedAt !== undefined) annotations[RESTARTED_AT] = restartedAt;
  return {
    ...wanted,
    spec: {
      ...(replicas !== undefined && { replicas }),
      ...spec,
      template: { ...template, metadata: { ...metadata, annotations } },
    },
  };
}

function recordAt(object: unknown, key: string): Record<string, unknown> {
  const value = isRecord(object) ? object[key] : undefined;
  return isRecord(value) ? value : {};
}

function valueAt(object: unknown, ...path: readonly string[]): unknown {
  let value = object;
  for (const key of path) value = isRecord(value) ? value[key] : undefined;
  return value;
}
