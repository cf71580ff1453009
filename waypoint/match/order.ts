import type { HttpMatch, HttpRoutes, HttpRule, PathMatch } from '../../mesh/model/http-route.ts';

/** A match of a rule, with where it stands among all of a table: of those that hold, the first is taken. */
export type OrderedMatch = Readonly<{
  rule: HttpRule;
  ruleIndex: number;
  match: HttpMatch;
  matchIndex: number;
}>;

/** What a rule without matches has: every request. */
const EVERYTHING: HttpMatch = { headers: [], queryParams: [] };

/** All matches of all rules, the one that is to be tried first in front. */
export function orderMatches(routes: HttpRoutes): readonly OrderedMatch[] {
  const ordered = routes.rules.flatMap((rule, ruleIndex) =>
    (rule.matches.length === 0 ? [EVERYTHING] : rule.matches).map((match, matchIndex) => ({
      ...{ rule, ruleIndex, match, matchIndex },
    })),
  );
  // The sort is stable: what is equal stays in the order given, which is that of the routes' precedence.
  if (routes.choice === 'precedence') ordered.sort((a, b) => comparePrecedence(a.match, b.match));
  return ordered;
}

/**
 * The order of Gateway API: an exact path, then the longer prefix, then (Istio) the longer pattern; then having a method, more
 * headers, more query parameters.
 */
function comparePrecedence(a: HttpMatch, b: HttpMatch): number {
  return (
    pathClass(a.path) - pathClass(b.path) ||
    pathLength(b.path) - pathLength(a.path) ||
    Number(b.method !== undefined) - Number(a.method !== undefined) ||
    b.headers.length - a.headers.length ||
    b.queryParams.length - a.queryParams.length
  );
}

function pathClass(path: PathMatch | undefined): number {
  switch (path?.kind) {
    case 'exact':
      return 0;
    case 'regex':
      return 2;
    default:
      return 1; // without a path: the prefix `/`
  }
}

/** Exact paths that match one request are one path. A slash at the end of a prefix is not compared, so it makes none longer. */
function pathLength(path: PathMatch | undefined): number {
  if (path === undefined || path.kind === 'exact') return 0;
  const { kind, value } = path;
  return kind === 'prefix' && value.endsWith('/') ? value.length - 1 : value.length;
}
