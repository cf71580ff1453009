import { NAMESPACE_NAME } from '../../mesh/kubernetes/labels.ts';
import type { KubernetesObject } from './api.ts';
import { isClusterScoped } from './kinds.ts';
import { referenceOf, timestamp, withMetadata, type ObjectStore } from './store.ts';

/** Namespaces that every sandbox has. */
export const FIRST_NAMESPACES: readonly string[] = ['default', 'kube-system', 'istio-system'];

export function makeNamespace(name: string): KubernetesObject {
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name, labels: { [NAMESPACE_NAME]: name }, annotations: {} },
    status: { phase: 'Active' },
  };
}

export function makeServiceAccount(namespace: string, name: string): KubernetesObject {
  return {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name, namespace, labels: {}, annotations: {} },
  };
}

/** Gives each namespace its name as a label and its default account, and empties those that are to go. */
export function reconcileNamespaces(
  store: ObjectStore,
  remove: (object: KubernetesObject) => void,
): void {
  for (const namespace of store.list('Namespace')) {
    const { name, deletionTimestamp, labels = {} } = namespace.metadata;
    if (deletionTimestamp !== undefined) {
      empty(store, namespace, remove);
      continue;
    }
    if (labels[NAMESPACE_NAME] !== name)
      store.put({
        ...withMetadata(namespace, { labels: { [NAMESPACE_NAME]: name } }),
        status: { phase: 'Active' },
      });
    if (store.get('ServiceAccount', name, 'default') === undefined)
      store.put(makeServiceAccount(name, 'default'));
  }
}

/** Marks a namespace as going; it goes when nothing is left in it. */
export function removeNamespace(store: ObjectStore, namespace: KubernetesObject): void {
  store.put({
    ...withMetadata(namespace, { deletionTimestamp: timestamp() }),
    status: { phase: 'Terminating' },
  });
}

function empty(
  store: ObjectStore,
  namespace: KubernetesObject,
  remove: (object: KubernetesObject) => void,
): void {
  const { name } = namespace.metadata;
  const left = store
    .kinds()
    .filter((kind) => !isClusterScoped(kind))
    .flatMap((kind) => store.list(kind, name));
  for (const object of left) remove(object);
  const pods = store.list('Pod', name);
  if (pods.length === 0) store.remove(referenceOf(namespace));
}
