import { MeshError } from '../base/errors.ts';
import { findHeader } from '../net/h2/headers.ts';
import type { HttpRequest } from './http-request.ts';
import { isSecretHeader } from './tap-record.ts';

/** Which requests are told of. All that is there must hold; what is absent holds for all. */
export type TapFilter = Readonly<{
  /** `<namespace>/<name>` of the service that was called. */
  service?: string;
  method?: string;
  /** What the path begins with. */
  path?: string;
  /** `503`, or `5` for a whole class. */
  status?: number;
  /** `<namespace>` or `<namespace>/<service account>` of the client. */
  source?: string;
  headers: readonly (readonly [name: string, value: string])[];
}>;

/**
 * Reads the query of the page.
 *
 * @throws {MeshError} ERR_TAP_FILTER, for a header whose value is never shown too: asking would be guessing it.
 */
export function readTapFilter(query: URLSearchParams): TapFilter {
  const text = (name: 'service' | 'path' | 'source'): Partial<TapFilter> => {
    const value = query.get(name);
    return value === null ? {} : { [name]: value };
  };
  const method = query.get('method');
  const status = query.get('status');
  return {
    ...{ ...text('service'), ...text('path'), ...text('source') },
    ...(method !== null && { method: method.toUpperCase() }),
    ...(status !== null && { status: readStatus(status) }),
    headers: query.getAll('header').map(readHeader),
  };
}

function readStatus(text: string): number {
  const [, exact, family] = /^(?:([1-5]\d\d|0)|([1-5])xx)$/i.exec(text) ?? [];
  if (exact === undefined && family === undefined)
    throw refusal(`status ${text} is neither a number nor such as 5xx`);
  return Number(exact ?? family);
}

function readHeader(text: string): readonly [string, string] {
  const at = text.search(/[=:]/);
  if (at <= 0) throw refusal(`header ${text} is not NAME=VALUE`);
  const name = text.slice(0, at).trim().toLowerCase();
  if (isSecretHeader(name)) throw refusal(`values of ${name} are not shown`);
  return [name, text.slice(at + 1).trim()];
}

function refusal(found: string): MeshError {
  return new MeshError('ERR_TAP_FILTER', 'downstream', `Cannot tap: ${found}`);
}

/** Whether a request that has ended is one of those. */
export function isTapped(filter: TapFilter, request: HttpRequest): boolean {
  const { head, status, downstream } = request;
  const { service } = downstream;
  const wanted = filter.status;
  return (
    (filter.service === undefined ||
      (service !== undefined && filter.service === `${service.namespace}/${service.name}`)) &&
    (filter.method === undefined || filter.method === head.method) &&
    (filter.path === undefined || head.originalPath.startsWith(filter.path)) &&
    (wanted === undefined || wanted === status || wanted === Math.floor(status / 100)) &&
    (filter.source === undefined || isFrom(filter.source, request)) &&
    filter.headers.every(([name, value]) => findHeader(head.list, name) === value)
  );
}

function isFrom(source: string, { downstream }: HttpRequest): boolean {
  const [, namespace, account] =
    /\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(downstream.identity ?? '') ?? [];
  return (
    source === downstream.identity ||
    (namespace !== undefined &&
      (source === namespace || source === `${namespace}/${account ?? ''}`))
  );
}
