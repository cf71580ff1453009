import type {
  CorsOrigin,
  CorsPolicy,
  Fraction,
  HttpFilter,
} from '../../../mesh/model/http-filter.ts';
import { httpStatusFor } from '../../../mesh/model/grpc-http-status.ts';
import type { PathMatch } from '../../../mesh/model/http-route.ts';
import type { Redirect } from '../../../mesh/model/redirect.ts';
import {
  GRPC_STATUSES,
  type Destination,
  type HttpFault,
  type HttpRedirect,
  type IstioCorsPolicy,
  type VirtualHttpRoute,
} from '../../../mesh/kubernetes/virtual-service.ts';
import { resolveDestination } from './destinations.ts';
import { headerFilters } from './headers.ts';
import type { VirtualParts } from './parts.ts';

/** Whether what a rule does to a path depends on how the path was matched. */
export function dependsOnMatch({ rewrite }: VirtualHttpRoute): boolean {
  return rewrite !== undefined && rewrite.uri !== '';
}

/**
 * What a rule does to its requests and their responses: faults and CORS, then that by which it answers or goes on.
 *
 * @param path by which its requests are matched.
 */
export function ruleFilters(
  route: VirtualHttpRoute,
  path: PathMatch | undefined,
  parts: VirtualParts,
): HttpFilter[] {
  const { fault, corsPolicy, redirect, directResponse, headers } = route;
  return [
    ...(fault === undefined ? [] : faultFilters(fault, parts)),
    ...(corsPolicy === undefined
      ? []
      : [{ kind: 'cors' as const, cors: translateCors(corsPolicy, parts) }]),
    ...(redirect === undefined ? [] : [redirectFilter(redirect, parts)]),
    ...(directResponse === undefined ? [] : [answerFilter(directResponse)]),
    ...rewriteFilters(route, path),
    ...headerFilters(headers, parts),
    ...mirrorFilters(route, parts),
  ];
}

function faultFilters({ delay, abort }: HttpFault, parts: VirtualParts): HttpFilter[] {
  const filters: HttpFilter[] = [];
  const share = (given: NonNullable<HttpFault['delay'] | HttpFault['abort']>): Fraction => ({
    ...{ numerator: given.percentage?.value ?? given.percent, denominator: 100 },
  });
  const isNever = (what: string, { numerator }: Fraction): boolean => {
    if (numerator === 0) parts.note(`fault.${what} has no effect: its percentage is 0`);
    return numerator === 0;
  };
  if (delay !== undefined && !isNever('delay', share(delay)))
    filters.push({ kind: 'delay', delayMs: delay.fixedDelay, share: share(delay) });
  if (abort !== undefined && !isNever('abort', share(abort))) {
    const grpcStatus =
      abort.grpcStatus === undefined ? undefined : GRPC_STATUSES.indexOf(abort.grpcStatus);
    filters.push({
      kind: 'abort',
      status: abort.httpStatus ?? httpStatusFor(grpcStatus ?? -1),
      ...(grpcStatus !== undefined && { grpcStatus }),
      share: share(abort),
    });
  }
  return filters;
}

/** As long as browsers keep what comes without a time. Fetch standard, CORS-preflight cache. */
const DEFAULT_MAX_AGE_SECONDS = 5;

function translateCors(cors: IstioCorsPolicy, parts: VirtualParts): CorsPolicy {
  const origins = cors.allowOrigins.flatMap(({ exact, prefix, regex }): CorsOrigin[] => {
    if (exact !== undefined) return [originOf(exact)];
    if (prefix !== undefined) return [{ kind: 'prefix', value: prefix }];
    if (regex !== undefined) return [{ kind: 'regex', value: regex }];
    parts.note('corsPolicy.allowOrigins has one that says nothing: it allows no origin');
    return [];
  });
  const { allowMethods, allowHeaders, exposeHeaders, allowCredentials, maxAge } = cors;
  return {
    allowOrigins: [...cors.allowOrigin.map(originOf), ...origins],
    ...{ allowMethods, allowHeaders, exposeHeaders, allowCredentials },
    maxAgeSeconds: maxAge === undefined ? DEFAULT_MAX_AGE_SECONDS : Math.floor(maxAge / 1000),
    forwardUnmatchedPreflights: cors.unmatchedPreflights !== 'IGNORE',
  };
}

/** Only a star that stands alone is more than itself. */
function originOf(value: string): CorsOrigin {
  return { kind: value === '*' ? 'wildcard' : 'exact', value };
}

function redirectFilter(written: HttpRedirect, parts: VirtualParts): HttpFilter {
  const { uri, authority, scheme, port, derivePort, redirectCode } = written;
  const defaultPort = scheme === 'https' ? 443 : 80;
  const redirect: Redirect = {
    statusCode: redirectCode,
    ...(scheme !== undefined && { scheme }),
    ...(authority !== '' && { hostname: authority }),
    ...(port !== undefined && { port }),
    ...(derivePort === 'FROM_REQUEST_PORT' && { port: parts.target.port }),
    ...(derivePort === 'FROM_PROTOCOL_DEFAULT' && { port: defaultPort }),
    ...(port === undefined && derivePort === undefined && { writtenPort: true as const }),
    ...(uri !== '' && { path: { kind: 'full' as const, path: uri } }),
  };
  return { kind: 'redirect', redirect };
}

function answerFilter({
  status,
  body,
}: NonNullable<VirtualHttpRoute['directResponse']>): HttpFilter {
  const text = body?.string ?? Buffer.from(body?.bytes ?? '', 'base64').toString('utf8');
  return { kind: 'respond', status, body: text, reason: 'direct_response' };
}

/** Characters of a matched prefix are replaced; where no prefix was matched, the whole path. */
function rewriteFilters({ rewrite }: VirtualHttpRoute, path: PathMatch | undefined): HttpFilter[] {
  if (rewrite === undefined) return [];
  const { uri, authority, uriRegexRewrite } = rewrite;
  const change =
    uriRegexRewrite !== undefined
      ? {
          kind: 'regex' as const,
          ...{ pattern: uriRegexRewrite.match, substitution: uriRegexRewrite.rewrite },
        }
      : uri === ''
        ? undefined
        : path?.kind === 'text-prefix'
          ? { kind: 'text-prefix' as const, replacement: uri }
          : { kind: 'full' as const, path: uri };
  return [
    {
      kind: 'rewrite',
      ...(authority !== '' && { hostname: authority }),
      ...(change !== undefined && { path: change }),
    },
  ];
}

/** A mirror to nowhere is left out: no request goes elsewhere by that. */
function mirrorFilters(route: VirtualHttpRoute, parts: VirtualParts): HttpFilter[] {
  const { mirror, mirrors, mirrorPercentage, mirrorPercent } = route;
  const single = mirrorPercentage?.value ?? mirrorPercent ?? 100;
  const all: (readonly [Destination, number])[] = [
    ...(mirror === undefined ? [] : [[mirror, single] as const]),
    ...mirrors.map((each) => [each.destination, each.percentage?.value ?? 100] as const),
  ];
  return all.flatMap(([destination, percent]): HttpFilter[] => {
    const found = resolveDestination(parts, destination, 'requests');
    if ('target' in found) {
      const share = { numerator: percent, denominator: 100 };
      return percent === 0 ? [] : [{ kind: 'mirror', backend: found.target, share }];
    }
    parts.note(`nothing is mirrored: ${found.problem}`);
    return [];
  });
}
