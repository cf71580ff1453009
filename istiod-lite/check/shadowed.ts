import { isDeepStrictEqual } from 'node:util';
import type { HttpMatch, HttpRoutes, HttpRule } from '../../mesh/model/http-route.ts';
import { isWithin } from '../translate/virtual/matches.ts';

/** A rule that never has a request, and one of those that have them all before it. */
export type ShadowedRule = Readonly<{ rule: HttpRule; by: HttpRule }>;

/** What a rule without matches has. */
const EVERYTHING: HttpMatch = { headers: [], queryParams: [] };

/** The rules of which it can be told that others have all their requests. */
export function shadowedRules({ choice, rules }: HttpRoutes): ShadowedRule[] {
  const found = rules.flatMap((rule, index): ShadowedRule[] => {
    const earlier = rules.slice(0, index).filter(({ name }) => name !== rule.name);
    const shadows = matchesOf(rule).map((match) =>
      earlier.find((other) => matchesOf(other).some((one) => hasAll(choice, one, match))),
    );
    const [by] = shadows;
    return by === undefined || shadows.includes(undefined) ? [] : [{ rule, by }];
  });
  // What was written as one rule may have become several: one that still has requests is no finding.
  const shadowed = new Set(found.map(({ rule }) => rule));
  const alive = new Set(rules.filter((rule) => !shadowed.has(rule)).map(({ name }) => name));
  return found.filter(({ rule }) => !alive.has(rule.name));
}

function matchesOf({ matches }: HttpRule): readonly HttpMatch[] {
  return matches.length === 0 ? [EVERYTHING] : matches;
}

/** By order an earlier match has what it covers. By precedence the more exact one goes first, so only an equal one has all. */
function hasAll(choice: HttpRoutes['choice'], earlier: HttpMatch, match: HttpMatch): boolean {
  return covers(earlier, match) && (choice === 'order' || covers(match, earlier));
}

function covers(outer: HttpMatch, inner: HttpMatch): boolean {
  return (
    coversPath(outer, inner) &&
    (outer.method === undefined || outer.method === inner.method) &&
    (outer.sourceNamespace === undefined || outer.sourceNamespace === inner.sourceNamespace) &&
    (outer.authority === undefined || isDeepStrictEqual(outer.authority, inner.authority)) &&
    (outer.scheme === undefined || isDeepStrictEqual(outer.scheme, inner.scheme)) &&
    isPart(outer.headers, inner.headers) &&
    isPart(outer.queryParams, inner.queryParams)
  );
}

function coversPath({ path: outer }: HttpMatch, { path: inner }: HttpMatch): boolean {
  if (outer === undefined) return true;
  const isAnyPath = outer.kind !== 'exact' && outer.kind !== 'regex' && outer.value === '/';
  return isAnyPath || (inner !== undefined && isWithin(inner, outer));
}

function isPart(some: readonly unknown[], all: readonly unknown[]): boolean {
  return some.every((one) => all.some((other) => isDeepStrictEqual(one, other)));
}
