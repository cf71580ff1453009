import { unreachable } from '../../../base/unreachable.ts';
import type {
  CorsOrigin,
  CorsPolicy,
  Fraction,
  HeaderChanges,
  HeaderField,
  HttpFilter,
} from '../../../mesh/model/http-filter.ts';
import type { PathRewrite } from '../../../mesh/model/path-rewrite.ts';
import type { Redirect } from '../../../mesh/model/redirect.ts';
import type {
  CorsSpec,
  HeaderModifierSpec,
  HttpFilterSpec,
  PathModifierSpec,
  RedirectSpec,
} from '../../../mesh/kubernetes/route-filters.ts';
import type { BackendObject } from '../../../mesh/kubernetes/route-references.ts';
import type { ReferenceProblem, ResolvedBackend } from './backends.ts';

/** What filters of a route ask about it. */
export type FilterParts = Readonly<{
  resolve: (ref: BackendObject) => ResolvedBackend;
  report: (problem: ReferenceProblem) => void;
}>;

/**
 * Filters as waypoints have them. Where one of them cannot be done, the requests of the rule or backend are answered with
 * 500 instead of going on without it.
 */
export function translateFilters(
  filters: readonly HttpFilterSpec[],
  parts: FilterParts,
): HttpFilter[] {
  const missing = filters.flatMap((filter) => whyNot(filter) ?? []);
  for (const message of missing) parts.report({ reason: 'InvalidFilter', message });
  const [reason] = missing;
  // Alone, for a redirect before it would answer in its place.
  if (reason !== undefined) return [{ kind: 'respond', status: 500, body: '', reason }];
  return filters.flatMap((filter) => translateFilter(filter, parts) ?? []);
}

function whyNot({ type, extensionRef }: HttpFilterSpec): string | undefined {
  if (type === 'ExternalAuth') return 'filter ExternalAuth is not supported';
  if (type !== 'ExtensionRef') return undefined;
  const { group = '', kind = '', name = '' } = extensionRef ?? {};
  return `filter ExtensionRef names ${group}/${kind} ${name}, which is no known extension`;
}

/** `undefined` for what has nothing to do. */
function translateFilter(filter: HttpFilterSpec, parts: FilterParts): HttpFilter | undefined {
  const { requestHeaderModifier, responseHeaderModifier, requestRedirect, urlRewrite } = filter;
  switch (filter.type) {
    case 'RequestHeaderModifier':
      return requestHeaderModifier === undefined
        ? undefined
        : { kind: 'request-headers', changes: headerChanges(requestHeaderModifier) };
    case 'ResponseHeaderModifier':
      return responseHeaderModifier === undefined
        ? undefined
        : { kind: 'response-headers', changes: headerChanges(responseHeaderModifier) };
    case 'RequestRedirect':
      return requestRedirect === undefined
        ? undefined
        : { kind: 'redirect', redirect: translateRedirect(requestRedirect) };
    case 'URLRewrite': {
      if (urlRewrite === undefined) return undefined;
      const { hostname, path } = urlRewrite;
      return {
        kind: 'rewrite',
        ...(hostname === undefined ? {} : { hostname }),
        ...(path === undefined ? {} : { path: pathRewrite(path) }),
      };
    }
    case 'RequestMirror':
      return translateMirror(filter.requestMirror, parts);
    case 'CORS':
      return filter.cors === undefined
        ? undefined
        : { kind: 'cors', cors: corsPolicy(filter.cors) };
    case 'ExternalAuth':
    case 'ExtensionRef':
      return undefined; // answered above
    default:
      return unreachable(filter.type);
  }
}

/** A mirror to nowhere is the one filter that is left out: upstream's contract says so, and no request goes elsewhere. */
function translateMirror(
  mirror: HttpFilterSpec['requestMirror'],
  { resolve, report }: FilterParts,
): HttpFilter | undefined {
  if (mirror === undefined) return undefined;
  const backend = resolve(mirror.backendRef);
  if ('problem' in backend) {
    const { reason, message } = backend.problem;
    report({ reason, message: `nothing is mirrored: ${message}` });
    return undefined;
  }
  const share: Fraction = mirror.fraction ?? {
    numerator: mirror.percent ?? 100,
    denominator: 100,
  };
  return { kind: 'mirror', backend: backend.target, share };
}

function headerChanges({ set, add, remove }: HeaderModifierSpec): HeaderChanges {
  return {
    set: firstOfEach(set),
    add: firstOfEach(add),
    remove: [...new Set(remove.map((name) => name.toLowerCase()))],
  };
}

/** Names in lower case; of equal ones the first counts. */
function firstOfEach(fields: readonly HeaderField[]): HeaderField[] {
  const found = new Map<string, HeaderField>();
  for (const { name, value } of fields) {
    const key = name.toLowerCase();
    if (!found.has(key)) found.set(key, { name: key, value });
  }
  return [...found.values()];
}

function translateRedirect({ scheme, hostname, path, port, statusCode }: RedirectSpec): Redirect {
  return {
    statusCode,
    ...(scheme === undefined ? {} : { scheme }),
    ...(hostname === undefined ? {} : { hostname }),
    ...(port === undefined ? {} : { port }),
    ...(path === undefined ? {} : { path: pathRewrite(path) }),
  };
}

function pathRewrite({ type, replaceFullPath, replacePrefixMatch }: PathModifierSpec): PathRewrite {
  return type === 'ReplaceFullPath'
    ? { kind: 'full', path: replaceFullPath ?? '' }
    : { kind: 'prefix', replacement: replacePrefixMatch ?? '' };
}

function corsPolicy(cors: CorsSpec): CorsPolicy {
  return {
    allowOrigins: cors.allowOrigins.map((value): CorsOrigin => {
      return { kind: value.includes('*') ? 'wildcard' : 'exact', value };
    }),
    allowMethods: cors.allowMethods,
    allowHeaders: cors.allowHeaders,
    exposeHeaders: cors.exposeHeaders,
    allowCredentials: cors.allowCredentials,
    maxAgeSeconds: cors.maxAge,
    forwardUnmatchedPreflights: false,
  };
}
