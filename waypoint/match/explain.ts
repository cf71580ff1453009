import { parseClaimName } from '../../mesh/model/claims.ts';
import type { ExplainStep } from '../../mesh/model/explain.ts';
import type { HttpMatch, PathMatch, ValueMatch } from '../../mesh/model/http-route.ts';
import { Regex } from '../../mesh/model/regex.ts';
import { wireText } from '../../mesh/model/wire-text.ts';
import type { HeaderList } from '../../net/h2/headers.ts';
import {
  claimHolds,
  compileConditions,
  testHolds,
  valueHolds,
  type Conditions,
} from './conditions.ts';
import type { OrderedMatch } from './order.ts';
import { lowerCase } from './path-trie.ts';
import { FieldNames, RequestFields } from './request-fields.ts';

/** Lines that a person may read. */
const MOST_STEPS = 200;

/**
 * Why a request has its rule: every match that was tried before, with all that did not hold of it, and then the match that
 * held. Slow, and without the table's tree: it shall say the same in another way.
 *
 * @param ordered in the order in which they are tried.
 */
export function explainMatch(
  ordered: readonly OrderedMatch[],
  headers: HeaderList,
  sourceNamespace: string | undefined,
): readonly ExplainStep[] {
  const steps: ExplainStep[] = [];
  let tried = 0;
  for (const { rule, match, matchIndex } of ordered) {
    const unmet = unmetConditions(match, headers, sourceNamespace);
    tried++;
    const step = `rule ${rule.name}, match ${matchIndex + 1}`;
    const found = unmet.length === 0 ? `holds: ${describeMatch(match)}` : unmet.join('; ');
    if (unmet.length === 0 || steps.length < MOST_STEPS) steps.push({ step, found });
    if (unmet.length === 0) return steps;
  }
  const left = tried > MOST_STEPS ? `, of which ${MOST_STEPS} are shown` : '';
  return [...steps, { step: 'rules', found: `none of ${tried} matches holds${left}` }];
}

/** What of a match does not hold for a request, in words. */
function unmetConditions(
  match: HttpMatch,
  headers: HeaderList,
  sourceNamespace: string | undefined,
): readonly string[] {
  const names = new FieldNames();
  const conditions = compileConditions(match, names);
  const request = new RequestFields(names);
  request.load(headers, sourceNamespace); // nobody has a token here
  const path = request.path.slice(0, request.pathLength);
  const unmet: string[] = [];
  if (match.path !== undefined && !pathHolds(match.path, path))
    unmet.push(`path ${quote(path)} is not ${describePath(match.path)}`);
  if (match.method !== undefined && match.method !== request.method)
    unmet.push(`method ${request.method} is not ${match.method}`);
  if (match.sourceNamespace !== undefined && match.sourceNamespace !== sourceNamespace)
    unmet.push(
      `the client is of ${sourceNamespace ?? 'no known namespace'}, not of ${match.sourceNamespace}`,
    );
  return [...unmet, ...unmetValues(match, conditions, request)];
}

function unmetValues(
  match: HttpMatch,
  conditions: Conditions,
  request: RequestFields,
): readonly string[] {
  const unmet: string[] = [];
  const [claims, headers] = partition(match.headers);
  claims.forEach((claim, index) => {
    const condition = conditions.claims[index];
    if (condition !== undefined && !claimHolds(condition, request))
      unmet.push(unmetValue('claim', claim, undefined));
  });
  headers.forEach((header, index) => {
    const condition = conditions.headers[index];
    if (condition === undefined) return;
    const value = request.header(condition.slot);
    if (!valueHolds(condition, value, request)) unmet.push(unmetValue('header', header, value));
  });
  match.queryParams.forEach((parameter, index) => {
    const condition = conditions.parameters[index];
    if (condition === undefined) return;
    const value = request.parameter(condition.slot);
    if (!valueHolds(condition, value, request))
      unmet.push(unmetValue('query parameter', parameter, value));
  });
  for (const name of ['authority', 'scheme'] as const) {
    const test = conditions[name];
    const wanted = match[name];
    const value = request.pseudo(`:${name}`);
    if (test !== undefined && wanted !== undefined && !testHolds(test, value, request))
      unmet.push(unmetValue('', { name, ...wanted }, value));
  }
  return unmet;
}

/** Claims, and headers that are headers, in the order of their conditions. */
function partition(
  headers: readonly ValueMatch[],
): readonly [claims: readonly ValueMatch[], headers: readonly ValueMatch[]] {
  const isClaim = ({ name }: ValueMatch): boolean => parseClaimName(name) !== undefined;
  return [headers.filter(isClaim), headers.filter((header) => !isClaim(header))];
}

function unmetValue(what: string, match: ValueMatch, value: string | undefined): string {
  const name = `${what} ${match.name}`.trim();
  const found = value === undefined ? `${name} is not there` : `${name} is ${quote(value)}`;
  return `${found}, must ${describeValue(match)}`;
}

function describeValue(match: ValueMatch): string {
  const not = match.absent === true ? 'not ' : '';
  switch (match.kind) {
    case 'present':
      return `${not}be there`;
    case 'exact':
      return `${not}be ${quote(match.value)}`;
    case 'prefix':
      return `${not}begin with ${quote(match.value)}`;
    case 'regex':
      return `${not}match ${quote(match.value)}`;
  }
}

function describeMatch({ path, method, headers, queryParams, ...rest }: HttpMatch): string {
  const parts = [path === undefined ? 'every path' : `path is ${describePath(path)}`];
  if (method !== undefined) parts.push(`method is ${method}`);
  if (rest.sourceNamespace !== undefined) parts.push(`client of ${rest.sourceNamespace}`);
  for (const header of headers) parts.push(`header ${header.name} does ${describeValue(header)}`);
  for (const parameter of queryParams)
    parts.push(`query parameter ${parameter.name} does ${describeValue(parameter)}`);
  for (const name of ['authority', 'scheme'] as const) {
    const wanted = rest[name];
    if (wanted !== undefined) parts.push(`${name} does ${describeValue({ name, ...wanted })}`);
  }
  return parts.join(', ');
}

function describePath({ kind, value, ignoreCase }: PathMatch): string {
  const words = {
    exact: 'exactly',
    prefix: 'below',
    'text-prefix': 'beginning with',
    regex: 'matching',
  };
  return `${words[kind]} ${quote(value)}${ignoreCase === true ? ' in any case' : ''}`;
}

function pathHolds({ kind, value, ignoreCase }: PathMatch, asked: string): boolean {
  if (kind === 'regex') return new Regex(value).matches(asked);
  const wanted = ignoreCase === true ? lowerCase(wireText(value)) : wireText(value);
  const path = ignoreCase === true ? lowerCase(asked) : asked;
  switch (kind) {
    case 'exact':
      return path === wanted;
    case 'text-prefix':
      return path.startsWith(wanted);
    case 'prefix':
      return `${path}/`.startsWith(wanted.endsWith('/') ? wanted : `${wanted}/`) && path !== '';
  }
}

/** Clients choose how long their values are; a person reads the beginning. */
function quote(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}...` : text);
}
