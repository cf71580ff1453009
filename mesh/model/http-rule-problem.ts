import { authorityProblem, fieldNameProblem, headerChangesProblem } from './header-changes.ts';
import { parseClaimName } from './claims.ts';
import type { HttpFilter } from './http-filter.ts';
import type { HttpMatch, HttpRule, SessionPersistence } from './http-route.ts';
import type { PathRewrite, PathSubstitution } from './path-rewrite.ts';
import { regexProblem } from './regex.ts';
import { substitutionProblem } from './regex-substitution.ts';

/**
 * Why a waypoint would refuse a rule, as the end of a sentence; `undefined` when it would not. For whoever takes rules from
 * people: what a proxy refuses, it refuses with everything that came along.
 */
export function httpRuleProblem(rule: HttpRule): string | undefined {
  const filters = [...rule.filters, ...rule.backends.flatMap(({ filters }) => filters)];
  return (
    firstProblem(rule.matches, matchProblem) ??
    firstProblem(filters, filterProblem) ??
    (rule.sessionPersistence && sessionPersistenceProblem(rule.sessionPersistence))
  );
}

function firstProblem<T>(
  items: readonly T[],
  problemOf: (item: T) => string | undefined,
): string | undefined {
  for (const item of items) {
    const problem = problemOf(item);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function matchProblem({
  path,
  headers,
  queryParams,
  authority,
  scheme,
}: HttpMatch): string | undefined {
  const values = [path, authority, scheme, ...headers, ...queryParams];
  return (
    firstProblem(headers, ({ name }) => matchNameProblem(name)) ??
    firstProblem(values, (value) =>
      value?.kind === 'regex' ? regexProblem(value.value) : undefined,
    )
  );
}

/** Pseudo-header fields that a request has. */
const PSEUDO = [':authority', ':method', ':path', ':scheme'];

const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;

/** As headerMatchProblem(), of a rule's match: claims of tokens stand among its headers, by names that none has. */
function matchNameProblem(name: string): string | undefined {
  return parseClaimName(name) === undefined ? headerMatchProblem(name) : undefined;
}

/** No request has a field of another name: a match would never hold or, turned around, always. */
export function headerMatchProblem(name: string): string | undefined {
  if (PSEUDO.includes(name) || HEADER_NAME.test(name)) return undefined;
  return `${JSON.stringify(name)} is not a header's name in lower case`;
}

function filterProblem(filter: HttpFilter): string | undefined {
  switch (filter.kind) {
    case 'request-headers':
      return headerChangesProblem(filter.changes, 'request');
    case 'response-headers':
      return headerChangesProblem(filter.changes, 'response');
    case 'cors':
      return firstProblem(filter.cors.allowOrigins, ({ kind, value }) =>
        kind === 'regex' ? regexProblem(value) : undefined,
      );
    case 'rewrite':
      return targetProblem(filter.hostname, filter.path);
    case 'redirect':
      return targetProblem(filter.redirect.hostname, filter.redirect.path);
    default:
      return undefined;
  }
}

/** A space or a line's end would end the target of a request line, a `#` what servers read of it. */
function targetProblem(
  hostname: string | undefined,
  rewrite: PathRewrite | PathSubstitution | undefined,
): string | undefined {
  const problem = hostname === undefined ? undefined : authorityProblem(hostname);
  if (problem !== undefined || rewrite === undefined) return problem;
  if (rewrite.kind === 'regex') {
    const unusable = substitutionProblem(rewrite.pattern, rewrite.substitution);
    if (unusable !== undefined) return unusable;
  }
  const path = rewrittenText(rewrite);
  return isTargetText(path) ? undefined : `${JSON.stringify(path)} cannot be part of a path`;
}

function rewrittenText(rewrite: PathRewrite | PathSubstitution): string {
  switch (rewrite.kind) {
    case 'full':
      return rewrite.path;
    case 'prefix':
    case 'text-prefix':
      return rewrite.replacement;
    case 'regex':
      return rewrite.substitution;
  }
}

function isTargetText(path: string): boolean {
  for (let index = 0; index < path.length; index++) {
    const code = path.charCodeAt(index);
    if (code <= 0x20 || code === 0x7f || code === HASH) return false;
  }
  return true;
}

const HASH = 0x23;

/** RFC 6265 section 4.1.1. */
const COOKIE_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** Ends neither its attribute nor its field. */
const COOKIE_PATH = /^\/[\x21-\x3a\x3c-\x7e]*$/;

/** A name or a path that would make other attributes or fields out of a token. */
function sessionPersistenceProblem(persistence: SessionPersistence): string | undefined {
  const { kind, name } = persistence;
  if (kind === 'header') return fieldNameProblem(name);
  if (!COOKIE_NAME.test(name)) return `${JSON.stringify(name)} is not the name of a cookie`;
  if (COOKIE_PATH.test(persistence.path)) return undefined;
  return `${JSON.stringify(persistence.path)} is not the path of a cookie`;
}
