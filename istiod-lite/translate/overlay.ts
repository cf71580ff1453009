import type { Gateway } from '../../mesh/kubernetes/gateway.ts';
import { GATEWAY_CLASS_DEFAULTS } from '../../mesh/kubernetes/labels.ts';
import { isJsonObject, type JsonValue } from '../../mesh/kubernetes/schema.ts';
import type { ConfigMap } from '../../mesh/kubernetes/core.ts';
import { formatProblem } from '../../mesh/kubernetes/problem.ts';
import { parseYaml } from '../../mesh/kubernetes/yaml.ts';
import { describeError } from '../../base/errors.ts';
import type { Picture } from '../snapshot.ts';
import type { GeneratedObject, MeshSettings } from './settings.ts';

/** The changes that somebody wants in the objects of a Gateway, by the key of their kind. */
export type Overlay = Readonly<
  | { kind: 'none' }
  /** The class's own first, then those of the Gateway. */
  | { kind: 'changes'; layers: readonly ReadonlyMap<string, JsonValue>[] }
  | { kind: 'invalid'; reason: string }
>;

/** The keys of such a ConfigMap, by the kind of what they change. */
const KEYS: ReadonlyMap<string, string> = new Map([
  ['ServiceAccount', 'serviceAccount'],
  ['Deployment', 'deployment'],
  ['Service', 'service'],
]);

/** Reads the ConfigMap that `infrastructure.parametersRef` names, over those that hold for the whole class. */
export function findOverlay(picture: Picture, settings: MeshSettings, gateway: Gateway): Overlay {
  const { infrastructure, gatewayClassName } = gateway.spec;
  const named = infrastructure.parametersRef;
  try {
    const layers = [...picture.list('ConfigMap', settings.rootNamespace)]
      .filter(({ metadata }) => metadata.labels.get(GATEWAY_CLASS_DEFAULTS) === gatewayClassName)
      .map(readLayer);
    if (isJsonObject(named)) layers.push(readLayer(findNamed(picture, gateway, named)));
    return layers.length === 0 ? { kind: 'none' } : { kind: 'changes', layers };
  } catch (error) {
    return { kind: 'invalid', reason: describeError(error) };
  }
}

/** An object with the changes for its kind: mappings are merged, lists of named things by name, all else is replaced. */
export function applyOverlay(
  object: GeneratedObject,
  overlay: Extract<Overlay, { kind: 'changes' }>,
): GeneratedObject {
  const key = KEYS.get(object.kind);
  let changed: unknown = object;
  for (const layer of overlay.layers) {
    const change = key === undefined ? undefined : layer.get(key);
    if (isJsonObject(change)) changed = merge(changed, change);
  }
  const { apiVersion, kind, metadata } = object;
  // Whose it is, and what it is called, is not for an overlay to say.
  const merged = changed as GeneratedObject;
  return {
    ...merged,
    ...{ apiVersion, kind },
    metadata: {
      ...merged.metadata,
      name: metadata.name,
      ...(metadata.namespace !== undefined && { namespace: metadata.namespace }),
    },
  };
}

function findNamed(
  picture: Picture,
  { ref }: Gateway,
  named: Readonly<Record<string, JsonValue>>,
): ConfigMap {
  const { group, kind, name } = named;
  if (kind !== 'ConfigMap' || (group !== '' && group !== undefined))
    throw new Error(`parametersRef must name a ConfigMap: found ${JSON.stringify(kind ?? null)}`);
  const wanted = typeof name === 'string' ? name : '';
  const found = picture.get('ConfigMap', ref.namespace, wanted);
  if (found !== undefined) return found;
  throw new Error(`parametersRef: there is no ConfigMap ${ref.namespace}/${wanted}`);
}

function readLayer({ ref, data }: ConfigMap): ReadonlyMap<string, JsonValue> {
  const known = new Set(KEYS.values());
  const layer = new Map<string, JsonValue>();
  for (const [key, text] of data) {
    const where = `ConfigMap ${ref.namespace}/${ref.name}: ${key}`;
    if (!known.has(key)) throw new Error(`${where}: only ${[...known].join(', ')} can be changed`);
    const { documents, problems } = parseYaml(text, where);
    const [problem] = problems;
    if (problem !== undefined) throw new Error(formatProblem(problem));
    const value = documents[0]?.value;
    if (!isJsonObject(value)) throw new Error(`${where}: found no mapping`);
    layer.set(key, value);
  }
  return layer;
}

function merge(base: unknown, change: JsonValue): unknown {
  if (Array.isArray(change) && Array.isArray(base)) return mergeLists(base, change);
  if (!isJsonObject(change)) return change;
  const merged = new Map(isMapping(base) ? Object.entries(base) : []);
  for (const [key, value] of Object.entries(change))
    if (value === null) merged.delete(key);
    else merged.set(key, merge(merged.get(key), value));
  return Object.fromEntries(merged);
}

/** As a strategic merge: what has the name of something that is there changes it, the rest comes after it. */
function mergeLists(base: readonly unknown[], change: readonly JsonValue[]): unknown[] {
  const nameOf = (item: unknown): unknown => (isMapping(item) ? item['name'] : undefined);
  if (![...base, ...change].every((item) => typeof nameOf(item) === 'string')) return [...change];
  const merged = [...base];
  for (const item of change) {
    const at = merged.findIndex((other) => nameOf(other) === nameOf(item));
    if (at < 0) merged.push(item);
    else merged[at] = merge(merged[at], item);
  }
  return merged;
}

function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
