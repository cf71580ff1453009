import type { Picture } from '../../snapshot.ts';

export type Referrer = Readonly<{ group: string; kind: string; namespace: string }>;
export type Referred = Readonly<{ group: string; kind: string; namespace: string; name: string }>;

/** Whether an object may refer to another: one of its own namespace, or one whose namespace grants it. */
export function mayRefer(picture: Picture, from: Referrer, to: Referred): boolean {
  if (from.namespace === to.namespace) return true;
  for (const { spec } of picture.list('ReferenceGrant', to.namespace)) {
    const isFrom = spec.from.some(
      ({ group, kind, namespace }) =>
        group === from.group && kind === from.kind && namespace === from.namespace,
    );
    const isTo = spec.to.some(
      ({ group, kind, name }) =>
        group === to.group && kind === to.kind && (name === undefined || name === to.name),
    );
    if (isFrom && isTo) return true;
  }
  return false;
}
