import { MeshError } from '../../base/errors.ts';
import type { HttpMatch, ValueMatch } from '../../mesh/model/http-route.ts';
import { parseClaimName } from '../../mesh/model/claims.ts';
import { headerMatchProblem } from '../../mesh/model/http-rule-problem.ts';
import { Regex } from '../../mesh/model/regex.ts';
import { wireText } from '../../mesh/model/wire-text.ts';
import type { FieldNames, RequestFields } from './request-fields.ts';

type TextTest = Readonly<
  | { kind: 'exact' | 'prefix'; value: string }
  | { kind: 'regex'; regex: Regex }
  | { kind: 'present' }
>;

/** What one value must be; `absent` turns it around, also where there is no value. */
export type ValueCondition = Readonly<{ slot: number; test: TextTest; absent: boolean }>;

/** What one of a claim's texts must be. */
export type ClaimCondition = Readonly<{
  path: readonly string[];
  test: TextTest;
  absent: boolean;
}>;

/** All that a match asks of a request beside its path. */
export type Conditions = Readonly<{
  method: string | undefined;
  headers: readonly ValueCondition[];
  parameters: readonly ValueCondition[];
  claims: readonly ClaimCondition[];
  authority: TextTest | undefined;
  scheme: TextTest | undefined;
  sourceNamespace: string | undefined;
}>;

/** @throws {MeshError} ERR_REGEX for a pattern that cannot be used, ERR_HEADER_MATCH for a name that no header has. */
export function compileConditions(match: HttpMatch, names: FieldNames): Conditions {
  const headers: ValueCondition[] = [];
  const claims: ClaimCondition[] = [];
  for (const header of match.headers) {
    const path = parseClaimName(header.name);
    if (path !== undefined) claims.push({ path, test: compileTest(header), ...turned(header) });
    else headers.push(compileValue(checkHeader(header), names.headerSlot(header.name)));
  }
  return {
    method: match.method,
    headers,
    claims,
    parameters: match.queryParams.map((parameter) =>
      compileValue(parameter, names.parameterSlot(wireText(parameter.name))),
    ),
    authority: match.authority && compileTest(match.authority),
    scheme: match.scheme && compileTest(match.scheme),
    sourceNamespace: match.sourceNamespace,
  };
}

function checkHeader(match: ValueMatch): ValueMatch {
  const problem = headerMatchProblem(match.name);
  if (problem !== undefined)
    throw new MeshError('ERR_HEADER_MATCH', 'local', `Cannot match a header: ${problem}`);
  return match;
}

function compileValue(match: ValueMatch, slot: number): ValueCondition {
  return { slot, test: compileTest(match), ...turned(match) };
}

function turned({ absent = false }: ValueMatch): Readonly<{ absent: boolean }> {
  return { absent };
}

function compileTest(
  match: Readonly<{ kind: 'exact' | 'prefix' | 'regex'; value: string } | { kind: 'present' }>,
): TextTest {
  if (match.kind === 'present') return { kind: 'present' };
  if (match.kind === 'regex') return { kind: 'regex', regex: new Regex(match.value) };
  return { kind: match.kind, value: wireText(match.value) };
}

/** @throws {MeshError} ERR_REGEX_INPUT for a value that is too long for the pattern that asks for it. */
export function conditionsHold(conditions: Conditions, request: RequestFields): boolean {
  const { method, sourceNamespace, authority, scheme, headers, parameters, claims } = conditions;
  if (method !== undefined && method !== request.method) return false;
  if (sourceNamespace !== undefined && sourceNamespace !== request.sourceNamespace) return false;
  for (const condition of headers)
    if (!valueHolds(condition, request.header(condition.slot), request)) return false;
  for (const condition of parameters)
    if (!valueHolds(condition, request.parameter(condition.slot), request)) return false;
  for (const condition of claims) if (!claimHolds(condition, request)) return false;
  if (authority !== undefined && !testHolds(authority, request.pseudo(':authority'), request))
    return false;
  return scheme === undefined || testHolds(scheme, request.pseudo(':scheme'), request);
}

export function claimHolds(
  { path, test, absent }: ClaimCondition,
  request: RequestFields,
): boolean {
  const texts = request.claimTexts(path);
  return texts.some((text) => testHolds(test, text, request)) !== absent;
}

export function valueHolds(
  condition: ValueCondition,
  value: string | undefined,
  request: RequestFields,
): boolean {
  return testHolds(condition.test, value, request) !== condition.absent;
}

/** @param request that the value is of. @throws as conditionsHold(). */
export function testHolds(
  test: TextTest,
  value: string | undefined,
  request: RequestFields,
): boolean {
  if (value === undefined) return false;
  switch (test.kind) {
    case 'exact':
      return value === test.value;
    case 'prefix':
      return value.startsWith(test.value);
    case 'regex':
      return request.isMatchedBy(test.regex, value);
    case 'present':
      return true;
  }
}
