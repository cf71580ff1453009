import type { ObjectReference } from './object.ts';
import { formatObject, metadataSchema, objectKey, type ObjectKey } from './object.ts';
import { formatFieldPath, type ConfigProblem, type FieldPath, type Report } from './problem.ts';
import { decodeKind, isNamespaced, findKind, type KubernetesObject } from './resources.ts';
import { isJsonObject, type JsonObject, type JsonValue } from './schema.ts';
import { validateLabels } from './selector.ts';
import { parseYaml, YAML_LIMITS, type Place, type YamlDocument, type YamlLimits } from './yaml.ts';

/** One document of a file: an object, or a name alone when the object was refused. */
export type ReadObject = Readonly<{
  ref: ObjectReference;
  key: ObjectKey;
  place: Place;
  /** Absent when the document has errors: the last good version stays in force. */
  object?: KubernetesObject;
}>;

export type ReadResult = Readonly<{
  objects: readonly ReadObject[];
  problems: readonly ConfigProblem[];
  /** False when something in the file could not even be named, so that what is missing here may still be meant to be there. */
  complete: boolean;
}>;

/** RFC 1123 subdomain, as the API server asks of most names. */
const NAME = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/;
/** RFC 1123 label, as namespaces and Services are called. */
const NAME_LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

const LABEL_KINDS = new Set(['/Namespace', '/Service']);

/**
 * Reads the Kubernetes objects of one file. Objects with errors are named without their content; `List` is opened.
 * An object without a namespace is in `default`, as kubectl would put it.
 */
export function readObjects(
  text: string,
  file: string,
  limits: YamlLimits = YAML_LIMITS,
): ReadResult {
  const parsed = parseYaml(text, file, limits);
  const problems = [...parsed.problems];
  const objects: ReadObject[] = [];
  let complete = parsed.problems.length === 0;
  const seen = new Map<ObjectKey, Place>();
  for (const document of parsed.documents) {
    for (const [value, at] of openList(document.value)) {
      const read = readObject(value, at, document, file, problems);
      if (read === undefined) {
        complete = false;
        continue;
      }
      const first = seen.get(read.key);
      if (first === undefined) {
        seen.set(read.key, read.place);
        objects.push(read);
      } else
        problems.push({
          ...{ severity: 'error', file, ...read.place, object: formatObject(read.ref), field: '' },
          message: `stands in this file twice; the one of line ${first.line} is used`,
          mend: 'remove one of them',
        });
    }
  }
  return { objects, problems, complete };
}

/** The items of a `v1` List with their paths, or the document itself. */
function openList(value: JsonValue): (readonly [JsonValue, FieldPath])[] {
  if (!isJsonObject(value) || value['kind'] !== 'List') return [[value, []]];
  const { items } = value;
  if (!Array.isArray(items)) return [];
  const list: readonly JsonValue[] = items;
  return list.map((item, index) => [item, ['items', index]]);
}

function readObject(
  value: JsonValue,
  at: FieldPath,
  document: YamlDocument,
  file: string,
  problems: ConfigProblem[],
): ReadObject | undefined {
  let object = '';
  const outcome = { failed: false };
  const add = (
    severity: 'error' | 'warning',
    path: FieldPath,
    message: string,
    mend = '',
  ): void => {
    if (severity === 'error') outcome.failed = true;
    const place = document.locate([...at, ...path]);
    const field = formatFieldPath(path);
    problems.push({ severity, file, ...place, object, field, message, mend });
  };
  const report: Report = {
    error: (path, message, mend) => {
      add('error', path, message, mend);
    },
    warn: (path, message, mend) => {
      add('warning', path, message, mend);
    },
  };
  if (!isJsonObject(value)) {
    report.error([], 'expected an object with apiVersion, kind and metadata');
    return undefined;
  }
  const ref = readReference(value, report);
  if (ref === undefined) return undefined;
  object = formatObject(ref);
  const { metadata: meta = null } = value;
  const metadata = metadataSchema.decode(meta, ['metadata'], report);
  validateLabels(metadata.labels, ['metadata', 'labels'], report);
  const key = objectKey(ref);
  const base = { ref, key, apiVersion: textOf(value['apiVersion']), raw: value };
  const full = { ...metadata, name: ref.name, namespace: ref.namespace };
  const decoded = decodeKind({ ...base, metadata: full }, report);
  const place = document.locate(at);
  return outcome.failed ? { ref, key, place } : { ref, key, place, object: decoded };
}

function textOf(value: JsonValue | undefined): string {
  return typeof value === 'string' ? value : '';
}

/** Names the object, or reports why it has no name. */
function readReference(value: JsonObject, report: Report): ObjectReference | undefined {
  const { apiVersion, kind, metadata = null } = value;
  if (typeof apiVersion !== 'string' || apiVersion === '') {
    report.error(['apiVersion'], 'is required', 'as in "apiVersion: v1"');
    return undefined;
  }
  if (typeof kind !== 'string' || kind === '') {
    report.error(['kind'], 'is required', 'as in "kind: Service"');
    return undefined;
  }
  const slash = apiVersion.indexOf('/');
  const group = slash < 0 ? '' : apiVersion.slice(0, slash);
  const meta: JsonObject = isJsonObject(metadata) ? metadata : {};
  const { name, namespace } = meta;
  if (typeof name !== 'string' || name === '') {
    const mend = 'generateName' in meta ? 'generateName needs an API server' : '';
    report.error(['metadata', 'name'], 'is required', mend);
    return undefined;
  }
  const wrongNamespace =
    namespace !== undefined && namespace !== null && typeof namespace !== 'string';
  if (wrongNamespace) {
    report.error(['metadata', 'namespace'], 'expected text');
    return undefined;
  }
  const given = typeof namespace === 'string' ? namespace : '';
  const known = findKind(group, kind) !== undefined;
  const shape = LABEL_KINDS.has(`${group}/${kind}`) ? NAME_LABEL : NAME;
  // Kinds we do not know may have rules of their own for names (ClusterRole allows colons).
  if (known && !shape.test(name)) {
    const found = JSON.stringify(name.slice(0, 80));
    report.error(['metadata', 'name'], `is no name for a ${kind}: found ${found}`);
    return undefined;
  }
  if (given !== '' && !NAME_LABEL.test(given)) {
    report.error(
      ['metadata', 'namespace'],
      `is no name: found ${JSON.stringify(given.slice(0, 80))}`,
    );
    return undefined;
  }
  const namespaced = isNamespaced(group, kind);
  if (!namespaced && given !== '')
    report.warn(['metadata', 'namespace'], `a ${kind} is in no namespace; ignored`);
  return { group, kind, namespace: namespaced ? given || 'default' : '', name };
}
