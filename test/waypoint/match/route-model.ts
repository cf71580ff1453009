/**
 * The choice of a rule once more, as short as it can be said, to hold the real one against. It imports nothing of the
 * product, and keeps nothing between requests: every match of every rule is tried, and of those that hold the best is taken
 * by comparing each with each.
 *
 * Gateway API: of all matches that hold, an exact path comes before a prefix and a prefix before a pattern; then the one with
 * more characters of path; then one that names a method; then more headers; then more query parameters; then the order given.
 * VirtualService: the first in the order given.
 */

export type ModelPath = Readonly<{
  kind: 'exact' | 'prefix' | 'text-prefix' | 'regex';
  value: string;
  ignoreCase?: boolean;
}>;

export type ModelValue = Readonly<{
  name: string;
  kind: 'exact' | 'prefix' | 'regex' | 'present';
  value?: string;
  absent?: boolean;
}>;

export type ModelMatch = Readonly<{
  path?: ModelPath;
  method?: string;
  headers: readonly ModelValue[];
  queryParams: readonly ModelValue[];
  authority?: Omit<ModelValue, 'name' | 'absent'>;
  scheme?: Omit<ModelValue, 'name' | 'absent'>;
  sourceNamespace?: string;
}>;

export type ModelRoutes = Readonly<{
  choice: 'precedence' | 'order';
  rules: readonly Readonly<{ matches: readonly ModelMatch[] }>[];
}>;

/** Fields in the order they came in; `path` with its query. */
export type ModelRequest = Readonly<{
  method: string;
  scheme: string;
  authority: string;
  path: string;
  fields: readonly (readonly [name: string, value: string])[];
  namespace: string | undefined;
}>;

export type ModelChoice = Readonly<{ rule: number; match: number; prefix: string }>;

type Holding = Readonly<{ rule: number; at: number; match: ModelMatch }>;

export function modelChoice(routes: ModelRoutes, request: ModelRequest): ModelChoice | undefined {
  const holding: Holding[] = [];
  routes.rules.forEach(({ matches }, rule) => {
    const all = matches.length > 0 ? matches : [{ headers: [], queryParams: [] }];
    all.forEach((match, at) => {
      if (holds(match, request)) holding.push({ rule, at, match });
    });
  });
  const best = holding.find((one, index) =>
    holding.every(
      (other, otherIndex) =>
        other === one ||
        (routes.choice === 'precedence' && beats(one.match, other.match)) ||
        (!(routes.choice === 'precedence' && beats(other.match, one.match)) && index < otherIndex),
    ),
  );
  if (best === undefined) return undefined;
  const { path } = best.match;
  const isPrefix = path?.kind === 'prefix' || path?.kind === 'text-prefix';
  return { rule: best.rule, match: best.at, prefix: isPrefix ? path.value : '' };
}

/** By the first of the criteria in which they differ. */
function beats(one: ModelMatch, other: ModelMatch): boolean {
  const mine = criteria(one);
  const theirs = criteria(other);
  const first = mine.findIndex((value, index) => value !== theirs[index]);
  return first >= 0 && (mine[first] ?? 0) > (theirs[first] ?? 0);
}

function criteria({ path, method, headers, queryParams }: ModelMatch): readonly number[] {
  const { kind, value } = path ?? { kind: 'prefix', value: '/' };
  const characters = kind === 'prefix' ? value.replace(/\/$/, '').length : value.length;
  return [
    kind === 'exact' ? 1 : 0,
    kind === 'regex' ? 0 : 1,
    kind === 'exact' ? 0 : characters,
    method === undefined ? 0 : 1,
    headers.length,
    queryParams.length,
  ];
}

function holds(match: ModelMatch, request: ModelRequest): boolean {
  const [path = '', ...queries] = request.path.split('?');
  const parameters = queries.join('?').split('&').map(readParameter);
  return (
    (match.path === undefined || pathHolds(match.path, path)) &&
    (match.method ?? request.method) === request.method &&
    (match.sourceNamespace === undefined || match.sourceNamespace === request.namespace) &&
    (match.authority === undefined || isValue(match.authority, request.authority)) &&
    (match.scheme === undefined || isValue(match.scheme, request.scheme)) &&
    match.headers.every((wanted) => {
      const values = request.fields.filter(([name]) => name === wanted.name);
      const joined = values.map(([, value]) => value).join(',');
      return isValue(wanted, values.length > 0 ? joined : undefined) !== (wanted.absent ?? false);
    }) &&
    match.queryParams.every((wanted) => {
      const value = parameters.find(([name]) => name === wanted.name)?.[1];
      return isValue(wanted, value) !== (wanted.absent ?? false);
    })
  );
}

function pathHolds(wanted: ModelPath, asked: string): boolean {
  const fold = (text: string): string => ((wanted.ignoreCase ?? false) ? text.toLowerCase() : text);
  const [value, path] = [fold(wanted.value), fold(asked)];
  switch (wanted.kind) {
    case 'exact':
      return path === value;
    case 'text-prefix':
      return path.slice(0, value.length) === value;
    case 'regex':
      return new RegExp(`^(?:${wanted.value})$`).test(asked);
    case 'prefix': {
      const segments = value.replace(/\/$/, '').split('/');
      const asked = path.split('/');
      return asked.length > 1 && segments.every((segment, index) => segment === asked[index]);
    }
  }
}

function isValue(
  wanted: Readonly<{ kind: ModelValue['kind']; value?: string }>,
  value: string | undefined,
): boolean {
  if (value === undefined) return false;
  if (wanted.kind === 'present') return true;
  if (wanted.kind === 'regex') return new RegExp(`^(?:${wanted.value ?? ''})$`).test(value);
  if (wanted.kind === 'prefix') return value.indexOf(wanted.value ?? '') === 0;
  return value === wanted.value;
}

/** Of `name=value` with escapes; without an equals sign the value is empty. */
function readParameter(text: string): readonly [name: string, value: string] {
  const [name = '', ...values] = text.split('=');
  return [unescaped(name), unescaped(values.join('='))];
}

function unescaped(text: string): string {
  const [first = '', ...escapes] = text.split('%');
  return escapes.reduce((before, escape) => {
    const digits = escape.slice(0, 2);
    const isCode = /^[0-9a-f]{2}$/i.test(digits);
    return (
      before +
      (isCode ? String.fromCharCode(Number(`0x${digits}`)) + escape.slice(2) : `%${escape}`)
    );
  }, first);
}
