import type { KubernetesObject } from './api.ts';
import { withMetadata } from './store.ts';

/** Applying says what users want; status, addresses given, and annotations of others stay. */
export function mergeApplied(
  before: KubernetesObject,
  applied: KubernetesObject,
): KubernetesObject {
  const { labels = {}, annotations = {} } = applied.metadata;
  const merged = withMetadata(
    { ...before, ...applied, metadata: before.metadata },
    { annotations },
  );
  const spec =
    before.kind === 'Service' || before.kind === 'Pod'
      ? { ...(before['spec'] as object | undefined), ...(applied['spec'] as object | undefined) }
      : applied['spec'];
  const next: KubernetesObject = {
    ...merged,
    metadata: { ...merged.metadata, labels },
    ...(spec !== undefined && { spec }),
    ...(before['status'] !== undefined && { status: before['status'] }),
  };
  const same = JSON.stringify(before['spec']) === JSON.stringify(next['spec']);
  return same ? next : withGeneration(next, (before.metadata.generation ?? 1) + 1);
}

export function withGeneration(object: KubernetesObject, generation: number): KubernetesObject {
  return { ...object, metadata: { ...object.metadata, generation } };
}
