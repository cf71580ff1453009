import { LineCounter, parseAllDocuments } from 'yaml';
import { MeshError } from '../../base/errors.ts';
import type { ApplyRequest, KubernetesObject } from './api.ts';
import { isClusterScoped, unsupportedKind } from './kinds.ts';

/** RFC 1123 subdomain, as Kubernetes names most objects. */
const OBJECT_NAME = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/;
const NAMESPACE_NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const KIND_NAME = /^[A-Z][A-Za-z0-9]{0,62}$/;
/** As much as one object may be in etcd, many times over. */
const MAX_TEXT_BYTES = 16 * 1024 * 1024;
/** Documents whose aliases unfold to more than this are an attack ("billion laughs"). */
const MAX_ALIASES = 100;

/**
 * The objects of an apply request, with their namespaces filled in and what the sandbox itself writes taken out.
 *
 * @throws {MeshError} ERR_DOCUMENT naming source and line, for the first document that is no object.
 */
export function parseDocuments(request: ApplyRequest): KubernetesObject[] {
  const { documents, namespace = 'default' } = checkRequest(request);
  return documents.flatMap(({ source, text }) => parseSource(source, text, namespace));
}

/** What came over the wire may be anything. */
function checkRequest(
  request: Readonly<{ documents: unknown; namespace?: unknown }>,
): ApplyRequest {
  const { documents, namespace } = request;
  const isDocument = (document: unknown): document is ApplyRequest['documents'][number] =>
    isRecord(document) &&
    typeof document['source'] === 'string' &&
    typeof document['text'] === 'string';
  if (!Array.isArray(documents) || !documents.every(isDocument))
    throw documentError('the request', 0, 'no documents with source and text');
  if (namespace !== undefined && typeof namespace !== 'string')
    throw documentError('the request', 0, `namespace ${JSON.stringify(namespace)}`);
  return { documents, ...(namespace !== undefined && { namespace }) };
}

function parseSource(source: string, text: string, namespace: string): KubernetesObject[] {
  if (text.length > MAX_TEXT_BYTES)
    throw documentError(source, 0, `more than ${MAX_TEXT_BYTES} bytes`);
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines });
  const objects: KubernetesObject[] = [];
  for (const document of documents) {
    const line = lines.linePos(document.contents?.range[0] ?? 0).line;
    const [error] = document.errors;
    if (error !== undefined)
      throw documentError(
        source,
        error.linePos?.[0].line ?? line,
        error.message.split('\n')[0] ?? '',
      );
    const value = document.toJS({ maxAliasCount: MAX_ALIASES }) as unknown;
    if (value === null || value === undefined) continue;
    objects.push(...readObjects(value, namespace, (found) => documentError(source, line, found)));
  }
  return objects;
}

type Fail = (found: string) => MeshError;

function readObjects(value: unknown, namespace: string, fail: Fail): KubernetesObject[] {
  if (!isRecord(value)) throw fail('no object with apiVersion and kind');
  if (value['kind'] === 'List' && Array.isArray(value['items']))
    return value['items'].flatMap((item: unknown) => readObjects(item, namespace, fail));
  return [readObject(value, namespace, fail)];
}

function readObject(
  value: Record<string, unknown>,
  defaultNamespace: string,
  fail: Fail,
): KubernetesObject {
  const { apiVersion, kind, metadata } = value;
  if (typeof apiVersion !== 'string' || apiVersion === '') throw fail('no apiVersion');
  if (typeof kind !== 'string' || !KIND_NAME.test(kind)) throw fail('no kind');
  const instead = unsupportedKind(kind);
  if (instead !== undefined)
    throw fail(`a ${kind}, for which the sandbox has no controller; ${instead}`);
  if (!isRecord(metadata)) throw fail('no metadata');
  const { name, namespace } = metadata;
  if (typeof name !== 'string' || !OBJECT_NAME.test(name))
    throw fail(`metadata.name ${JSON.stringify(name)}`);
  if (namespace !== undefined && typeof namespace !== 'string')
    throw fail(`metadata.namespace ${JSON.stringify(namespace)}`);
  const home = namespace ?? defaultNamespace;
  if (!NAMESPACE_NAME.test(home)) throw fail(`metadata.namespace ${JSON.stringify(home)}`);
  const kept: KubernetesObject['metadata'] = {
    name,
    ...(!isClusterScoped(kind) && { namespace: home }),
    labels: readTexts(metadata['labels'], 'metadata.labels', fail),
    annotations: readTexts(metadata['annotations'], 'metadata.annotations', fail),
  };
  return { ...value, apiVersion, kind, metadata: kept };
}

function readTexts(value: unknown, field: string, fail: Fail): Record<string, string> {
  if (value === undefined || value === null) return {};
  if (!isRecord(value)) throw fail(`${field} that is no mapping`);
  return Object.fromEntries(
    Object.entries(value).map(([key, text]) => {
      if (typeof text !== 'string')
        throw fail(`${field}.${key} ${JSON.stringify(text)}, which needs quotes`);
      return [key, text];
    }),
  );
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function documentError(source: string, line: number, found: string): MeshError {
  const place = line > 0 ? `${source}:${line}` : source;
  return new MeshError('ERR_DOCUMENT', 'local', `Cannot apply ${place}: found ${found}`);
}
