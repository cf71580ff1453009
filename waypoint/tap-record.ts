import type { HeaderList } from '../net/h2/headers.ts';
import type { HttpRequest } from './http-request.ts';
import { formatFlags } from './response-flags.ts';
import { findTraceparent, traceIdOf } from './trace-context.ts';

/** One request as `halo tap` shows it. Absent values are null. */
export type TapRecord = Readonly<{
  time: string;
  source: string | null;
  sourceAddress: string;
  service: string | null;
  method: string;
  authority: string;
  path: string;
  protocol: string;
  status: number;
  flags: string;
  details: string;
  policy: string | null;
  route: string | null;
  backend: string | null;
  endpoint: string | null;
  attempts: number;
  durationMs: number;
  bytesReceived: number;
  bytesSent: number;
  requestId: string;
  traceId: string | null;
  /** Of the request, without what may be a secret. */
  headers: Readonly<Record<string, string>>;
}>;

/** What a thread tells of one subscriber's requests. */
export type TappedBatch = Readonly<{ id: number; records: readonly TapRecord[]; dropped: number }>;

const SECRETS: ReadonlySet<string> = new Set([
  ...['authorization', 'proxy-authorization', 'cookie', 'set-cookie', 'x-forwarded-client-cert'],
]);
/** Names that applications give to what authenticates. */
const SECRET_WORDS = /token|secret|passw|api-?key|credential|session|signature|auth/;
const HIDDEN = '<hidden>';
/** Of a value; the log has bounds of its own. */
const MAX_VALUE_LENGTH = 1024;

/** Whether the values of a field are never shown. @param name in lower case. */
export function isSecretHeader(name: string): boolean {
  return SECRETS.has(name) || (SECRET_WORDS.test(name) && name !== ':authority');
}

export function makeTapRecord(request: HttpRequest): TapRecord {
  const { downstream, head, exchange, endpoint } = request;
  const { service, identity } = downstream;
  return {
    time: new Date(performance.timeOrigin + request.startMs).toISOString(),
    source: identity ?? null,
    sourceAddress: downstream.remoteText,
    service: service === undefined ? null : `${service.namespace}/${service.hostname}`,
    ...{ method: head.method, authority: head.authority, path: withoutSecrets(head.originalPath) },
    ...{ protocol: downstream.version, status: request.status, flags: formatFlags(request.flags) },
    ...{
      details: request.details,
      policy: orNull(request.policy),
      route: orNull(request.routeName),
    },
    ...{ backend: orNull(request.backendName), endpoint: endpoint?.text ?? null },
    attempts: request.attempts,
    durationMs: Math.round((request.endMs - request.startMs) * 1000) / 1000,
    ...{ bytesReceived: exchange.bytesRead, bytesSent: exchange.bytesWritten },
    ...{
      requestId: head.requestId,
      traceId: traceIdIn(head.list),
      headers: shownHeaders(head.list),
    },
  };
}

function orNull(text: string): string | null {
  return text === '' ? null : text;
}

function traceIdIn(list: HeaderList): string | null {
  const at = findTraceparent(list);
  return at < 0 ? null : traceIdOf(list[at] ?? '');
}

/** Values of query parameters with such names are secrets as well. */
function withoutSecrets(path: string): string {
  const at = path.indexOf('?');
  if (at < 0) return path.slice(0, MAX_VALUE_LENGTH);
  const pairs = path.slice(at + 1).split('&');
  const shown = pairs.map((pair) => {
    const [name = ''] = pair.split('=', 1);
    return isSecretHeader(name.toLowerCase()) ? `${name}=${HIDDEN}` : pair;
  });
  return `${path.slice(0, at)}?${shown.join('&')}`.slice(0, MAX_VALUE_LENGTH);
}

function shownHeaders(list: HeaderList): Record<string, string> {
  const shown = new Map<string, string>();
  for (let index = 0; index < list.length; index += 2) {
    const name = list[index] ?? '';
    if (name.startsWith(':')) continue;
    const value = isSecretHeader(name)
      ? HIDDEN
      : (list[index + 1] ?? '').slice(0, MAX_VALUE_LENGTH);
    const before = shown.get(name);
    shown.set(name, before === undefined ? value : `${before}, ${value}`);
  }
  return Object.fromEntries(shown);
}
