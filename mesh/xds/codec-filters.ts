import { unreachable } from '../../base/unreachable.ts';
import type { CorsPolicy, Fraction, HeaderChanges, HttpFilter } from '../model/http-filter.ts';
import type { PathRewrite, PathSubstitution } from '../model/path-rewrite.ts';
import type { Redirect } from '../model/redirect.ts';
import type {
  Cors as CorsMessage,
  Fraction as FractionMessage,
  HeaderChanges as HeaderChangesMessage,
  HttpFilter as HttpFilterMessage,
  PathRewrite as PathRewriteMessage,
  Redirect as RedirectMessage,
} from '../proto/gen/waypoint-routes.ts';
import { decodePort, resourceError } from './codec-fields.ts';
import { decodeAmount, decodeName, decodeTarget, encodeTarget, required } from './codec-values.ts';

type Message = NonNullable<HttpFilterMessage['filter']>;

/** @throws {MeshError} ERR_XDS_RESOURCE for a filter that is not known: none may be left out. */
export function decodeFilter({ filter }: HttpFilterMessage): HttpFilter {
  switch (filter?.$case) {
    case 'requestHeaders':
      return { kind: 'request-headers', changes: filter.value };
    case 'responseHeaders':
      return { kind: 'response-headers', changes: filter.value };
    case 'rewrite': {
      const { hostname, path } = filter.value;
      return {
        kind: 'rewrite',
        ...(hostname === undefined ? {} : { hostname }),
        ...(path === undefined ? {} : { path: decodePathRewrite(path) }),
      };
    }
    case 'redirect':
      return { kind: 'redirect', redirect: decodeRedirect(filter.value) };
    case 'mirror': {
      const { backend, share } = filter.value;
      return {
        kind: 'mirror',
        backend: decodeTarget(required(backend, 'mirror.backend')),
        share: decodeShare(share),
      };
    }
    case 'cors':
      return { kind: 'cors', cors: decodeCors(filter.value) };
    case 'delay': {
      const { delayMs, share } = filter.value;
      return {
        kind: 'delay',
        delayMs: decodeAmount(delayMs, 'delay.delay_ms'),
        share: decodeShare(share),
      };
    }
    case 'abort': {
      const { status, grpcStatus, share } = filter.value;
      return {
        kind: 'abort',
        status: decodeStatus(status),
        ...(grpcStatus === undefined ? {} : { grpcStatus }),
        share: decodeShare(share),
      };
    }
    case 'respond':
      return { kind: 'respond', ...filter.value, status: decodeStatus(filter.value.status) };
    case undefined:
      throw resourceError('a filter of no known kind');
  }
}

export function encodeFilter(filter: HttpFilter): HttpFilterMessage {
  return { filter: messageOf(filter) };
}

function messageOf(filter: HttpFilter): Message {
  switch (filter.kind) {
    case 'request-headers':
      return { $case: 'requestHeaders', value: encodeHeaders(filter.changes) };
    case 'response-headers':
      return { $case: 'responseHeaders', value: encodeHeaders(filter.changes) };
    case 'rewrite': {
      const { hostname, path } = filter;
      return { $case: 'rewrite', value: { hostname, path: encodePathRewrite(path) } };
    }
    case 'redirect': {
      const { path, ...rest } = filter.redirect;
      return { $case: 'redirect', value: { ...rest, path: encodePathRewrite(path) } };
    }
    case 'mirror': {
      const { backend, share } = filter;
      return { $case: 'mirror', value: { backend: encodeTarget(backend), share: { ...share } } };
    }
    case 'cors':
      return { $case: 'cors', value: encodeCors(filter.cors) };
    case 'delay': {
      const { delayMs, share } = filter;
      return { $case: 'delay', value: { delayMs, share: { ...share } } };
    }
    case 'abort': {
      const { status, grpcStatus, share } = filter;
      return { $case: 'abort', value: { status, grpcStatus, share: { ...share } } };
    }
    case 'respond': {
      const { status, body, reason } = filter;
      return { $case: 'respond', value: { status, body, reason } };
    }
    default:
      return unreachable(filter);
  }
}

function encodeHeaders({ set, add, remove }: HeaderChanges): HeaderChangesMessage {
  return { set: [...set], add: [...add], remove: [...remove] };
}

function decodePathRewrite({ rewrite }: PathRewriteMessage): PathRewrite | PathSubstitution {
  switch (rewrite?.$case) {
    case 'full':
      return { kind: 'full', path: rewrite.value };
    case 'prefix':
      return { kind: 'prefix', replacement: rewrite.value };
    case 'textPrefix':
      return { kind: 'text-prefix', replacement: rewrite.value };
    case 'regex':
      return { kind: 'regex', ...rewrite.value };
    case undefined:
      throw resourceError('a path rewrite of no known kind');
  }
}

function encodePathRewrite(
  rewrite: PathRewrite | PathSubstitution | undefined,
): PathRewriteMessage | undefined {
  switch (rewrite?.kind) {
    case undefined:
      return undefined;
    case 'full':
      return { rewrite: { $case: 'full', value: rewrite.path } };
    case 'prefix':
      return { rewrite: { $case: 'prefix', value: rewrite.replacement } };
    case 'text-prefix':
      return { rewrite: { $case: 'textPrefix', value: rewrite.replacement } };
    case 'regex': {
      const { pattern, substitution } = rewrite;
      return { rewrite: { $case: 'regex', value: { pattern, substitution } } };
    }
  }
}

function decodeRedirectPath(message: PathRewriteMessage): PathRewrite {
  const path = decodePathRewrite(message);
  if (path.kind === 'regex') throw resourceError('a redirect whose path is a substitution');
  return path;
}

function decodeRedirect(message: RedirectMessage): Redirect {
  const { statusCode, scheme, hostname, port, path, writtenPort } = message;
  return {
    statusCode: decodeStatus(statusCode),
    ...(scheme === undefined
      ? {}
      : { scheme: decodeName(['http', 'https'], scheme, 'redirect.scheme') }),
    ...(hostname === undefined ? {} : { hostname }),
    ...(port === undefined ? {} : { port: decodePort(port, 'redirect.port', { zero: false }) }),
    ...(writtenPort === true ? { writtenPort } : {}),
    ...(path === undefined ? {} : { path: decodeRedirectPath(path) }),
  };
}

function decodeCors(message: CorsMessage): CorsPolicy {
  return {
    ...message,
    allowOrigins: message.allowOrigins.map(({ kind, value }) => ({
      kind: decodeName(['exact', 'prefix', 'regex', 'wildcard'], kind, 'cors.allow_origins'),
      value,
    })),
    maxAgeSeconds: decodeAmount(message.maxAgeSeconds, 'cors.max_age_seconds'),
  };
}

function encodeCors(cors: CorsPolicy): CorsMessage {
  return {
    ...cors,
    allowOrigins: [...cors.allowOrigins],
    allowMethods: [...cors.allowMethods],
    allowHeaders: [...cors.allowHeaders],
    exposeHeaders: [...cors.exposeHeaders],
  };
}

function decodeShare(share: FractionMessage | undefined): Fraction {
  const { numerator, denominator } = required(share, 'share');
  if (!(denominator > 0)) throw resourceError(`bad share: of ${denominator}`);
  return { numerator: decodeAmount(numerator, 'share.numerator'), denominator };
}

/** Three digits, RFC 9110 section 15. */
function decodeStatus(status: number): number {
  if (status < 100 || status > 999) throw resourceError(`bad status ${status}`);
  return status;
}
