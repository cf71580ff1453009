import type { KubernetesObject } from '../deploy/sandbox/api.ts';

/** The value at a path of an object that came from YAML or JSON; `undefined` where there is none. */
export function valueAt(object: unknown, ...path: readonly string[]): unknown {
  let value = object;
  for (const key of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as Readonly<Record<string, unknown>>)[key];
  }
  return value;
}

/** As valueAt(): text, and numbers and booleans as text; '' for everything else. */
export function textAt(object: unknown, ...path: readonly string[]): string {
  const value = valueAt(object, ...path);
  if (typeof value === 'string') return value;
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : '';
}

/** As valueAt(), with 0 where there is no number. */
export function numberAt(object: unknown, ...path: readonly string[]): number {
  const value = valueAt(object, ...path);
  return typeof value === 'number' ? value : 0;
}

/** As valueAt(), with an empty list where there is no list. */
export function listAt(object: unknown, ...path: readonly string[]): readonly unknown[] {
  const value = valueAt(object, ...path);
  return Array.isArray(value) ? value : [];
}

/** The texts in a list of texts. */
export function textsAt(object: unknown, ...path: readonly string[]): string[] {
  return listAt(object, ...path).filter((value) => typeof value === 'string');
}

export function namespaceOf(object: KubernetesObject): string {
  return object.metadata.namespace ?? '';
}

/** The status of a condition ('True', 'False', 'Unknown'), or ''. */
export function conditionOf(object: KubernetesObject, type: string): string {
  const conditions = listAt(object, 'status', 'conditions');
  return textAt(
    conditions.find((condition) => textAt(condition, 'type') === type),
    'status',
  );
}
