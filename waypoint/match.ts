import type { ExplainStep } from '../mesh/model/explain.ts';
import type { HttpMatch, HttpRoutes, HttpRule, PathMatch } from '../mesh/model/http-route.ts';
import { Regex } from '../mesh/model/regex.ts';
import { wireText } from '../mesh/model/wire-text.ts';
import type { HeaderList } from '../net/h2/headers.ts';
import { Candidates, type Candidate } from './match/candidates.ts';
import { compileConditions } from './match/conditions.ts';
import { explainMatch } from './match/explain.ts';
import { literalPrefix } from './match/literal-prefix.ts';
import { orderMatches, type OrderedMatch } from './match/order.ts';
import { Found, lowerCase, PathTrie } from './match/path-trie.ts';
import { FieldNames, RequestFields } from './match/request-fields.ts';

/** The rule of a request. */
export type RouteMatch = Readonly<{
  rule: HttpRule;
  /** Its place in `HttpRoutes.rules`. */
  ruleIndex: number;
  /** Which of its matches held; 0 for a rule without any. */
  matchIndex: number;
  /** The prefix that the path was matched by, for a replacement of it; empty when it was no prefix. */
  prefix: string;
}>;

/**
 * HttpRoutes, made to be asked. Its paths are in a trie, so that the cost of an answer depends on the length of the request's path
 * and on the patterns that could still win, not on the number of rules.
 */
export class RouteTable {
  readonly routes: HttpRoutes;
  /** In the order in which they are tried. */
  readonly #ordered: readonly OrderedMatch[];
  /** Of matches without a path. */
  readonly #everywhere = new Candidates<RouteMatch>();
  readonly #paths = new PathTrie(makeCandidates);
  /** In lower case; `undefined` when no rule ignores case. */
  readonly #lowerCasePaths: PathTrie<Candidates<RouteMatch>> | undefined;
  /** Patterns, by what they begin with; `undefined` without any. */
  readonly #patterns: PathTrie<Candidates<RouteMatch>> | undefined;
  readonly #request: RequestFields;
  readonly #found = new Found<Candidates<RouteMatch>>();

  /** @throws {MeshError} ERR_REGEX, ERR_HEADER_MATCH when a match cannot be used: httpRuleProblem() says so before. */
  constructor(routes: HttpRoutes) {
    this.routes = routes;
    this.#ordered = orderMatches(routes);
    const has = (isKind: (path: PathMatch) => boolean): boolean =>
      this.#ordered.some(({ match: { path } }) => path !== undefined && isKind(path));
    if (has((path) => path.ignoreCase === true && path.kind !== 'regex'))
      this.#lowerCasePaths = new PathTrie(makeCandidates);
    if (has(({ kind }) => kind === 'regex')) this.#patterns = new PathTrie(makeCandidates);
    const names = new FieldNames();
    const used = new Set<Candidates<RouteMatch>>();
    this.#ordered.forEach(({ match, rule, ruleIndex, matchIndex }, rank) => {
      const pattern = match.path?.kind === 'regex' ? new Regex(match.path.value) : undefined;
      const result = { rule, ruleIndex, matchIndex, prefix: prefixOf(match) };
      const candidates = this.#candidatesOf(match.path);
      candidates.add({ rank, pattern, conditions: compileConditions(match, names), result });
      used.add(candidates);
    });
    for (const candidates of used) candidates.index();
    this.#request = new RequestFields(names);
  }

  /**
   * The rule for a request with these headers, `undefined` when there is none.
   *
   * @param headers with a normalised `:path`; no part of them is copied or kept.
   * @param sourceNamespace of the client, when it is known.
   * @param claims of a token of its that was verified.
   * @throws {MeshError} ERR_REGEX_INPUT when a value is too long for a pattern that would have to be asked.
   */
  find(headers: HeaderList, sourceNamespace?: string, claims?: object): RouteMatch | undefined {
    const request = this.#request;
    request.load(headers, sourceNamespace, claims);
    try {
      const { path, pathLength } = request;
      this.#found.add(this.#everywhere);
      this.#paths.collect(path, pathLength, this.#found);
      this.#lowerCasePaths?.collect(lowerCase(path), pathLength, this.#found);
      const best = this.#bestFound(undefined);
      if (this.#patterns === undefined) return best?.result;
      // Last, for they cost most: only those are asked that come before what holds already.
      this.#found.clear();
      this.#patterns.collect(path, pathLength, this.#found);
      return this.#bestFound(best)?.result;
    } finally {
      this.#found.clear();
      request.clear();
    }
  }

  /** Why find() answers as it does: what was tried, in order, and what of it did not hold. @throws as find(). */
  explain(headers: HeaderList, sourceNamespace?: string): readonly ExplainStep[] {
    return explainMatch(this.#ordered, headers, sourceNamespace);
  }

  /** From the longest path to the shortest, so that by precedence the first that holds leaves the rest nothing to do. */
  #bestFound(before: Candidate<RouteMatch> | undefined): Candidate<RouteMatch> | undefined {
    let best = before;
    for (let index = this.#found.length - 1; index >= 0; index--)
      best = this.#found.at(index)?.better(this.#request, best);
    return best;
  }

  #candidatesOf(path: PathMatch | undefined): Candidates<RouteMatch> {
    if (path === undefined) return this.#everywhere;
    const value = wireText(path.value);
    if (path.kind === 'regex')
      return (this.#patterns ?? this.#paths).slot('text-prefix', literalPrefix(path.value));
    return path.ignoreCase === true
      ? (this.#lowerCasePaths ?? this.#paths).slot(path.kind, lowerCase(value))
      : this.#paths.slot(path.kind, value);
  }
}

function makeCandidates(): Candidates<RouteMatch> {
  return new Candidates<RouteMatch>();
}

function prefixOf({ path }: HttpMatch): string {
  return path?.kind === 'prefix' || path?.kind === 'text-prefix' ? wireText(path.value) : '';
}
