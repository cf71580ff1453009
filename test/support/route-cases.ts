import type {
  HttpMatch,
  HttpRoutes,
  HttpRule,
  PathMatch,
  ValueMatch,
} from '../../mesh/model/http-route.ts';
import type { HeaderList } from '../../net/h2/headers.ts';
import type { ModelRequest } from '../waypoint/match/route-model.ts';

/** A number from 0 to below `below`: random, or out of the bytes of a fuzzer. */
export type Pick = (below: number) => number;

// Few of everything, so that what is asked for is often there, and often nearly there.
const SEGMENTS = ['a', 'b', 'ab', 'A', '', 'a.b', 'abc'];
const NAMES = ['x', 'y', 'x-user', 'cookies'];
const VALUES = ['', '1', '2', 'one', 'One', 'one,1', '%31', 'a b'];
/** Patterns that RE2 and JavaScript read alike. */
const PATTERNS = [
  '.*',
  '/a.*',
  '/(a|ab)',
  '/[a-c]+/b',
  '[a-z]+',
  'one|1',
  '(a|b)*',
  '',
  '/a(/b)?',
  '.*,1',
];
const METHODS = ['GET', 'POST', 'HEAD'];
const AUTHORITIES = ['shop', 'shop:80', 'Shop', 'cart.shop'];
const NAMESPACES = ['team-a', 'team-b'];

function oneOf<T>(pick: Pick, items: readonly [T, ...T[]] | readonly T[], fallback: T): T {
  return items[pick(items.length)] ?? fallback;
}

function makePath(pick: Pick): string {
  const segments = Array.from({ length: 1 + pick(3) }, () => oneOf(pick, SEGMENTS, ''));
  return `/${segments.join('/')}`;
}

function makePathMatch(pick: Pick): PathMatch {
  const kind = oneOf(pick, ['exact', 'prefix', 'prefix', 'text-prefix', 'regex'] as const, 'exact');
  if (kind === 'regex') return { kind, value: oneOf(pick, PATTERNS, '') };
  const path = makePath(pick);
  const value = kind === 'text-prefix' ? path.slice(0, pick(path.length + 1)) : path;
  return pick(5) === 0 ? { kind, value, ignoreCase: true } : { kind, value };
}

function makeText(
  pick: Pick,
  values: readonly string[],
): { kind: 'exact' | 'prefix' | 'regex'; value: string } {
  const kind = oneOf(pick, ['exact', 'exact', 'prefix', 'regex'] as const, 'exact');
  return { kind, value: kind === 'regex' ? oneOf(pick, PATTERNS, '') : oneOf(pick, values, '') };
}

function makeValueMatch(pick: Pick): ValueMatch {
  const name = oneOf(pick, NAMES, 'x');
  const absent = pick(5) === 0 ? { absent: true } : {};
  if (pick(5) === 0) return { name, kind: 'present', ...absent };
  return { name, ...makeText(pick, VALUES), ...absent };
}

function makeList<T>(pick: Pick, most: number, make: (pick: Pick) => T): T[] {
  const length = pick(3) === 0 ? pick(most + 1) : 0;
  return Array.from({ length }, () => make(pick));
}

function makeMatch(pick: Pick): HttpMatch {
  return {
    ...(pick(5) === 0 ? {} : { path: makePathMatch(pick) }),
    ...(pick(4) === 0 ? { method: oneOf(pick, METHODS, 'GET') } : {}),
    headers: makeList(pick, 3, makeValueMatch),
    queryParams: makeList(pick, 3, makeValueMatch),
    ...(pick(12) === 0 ? { authority: makeText(pick, AUTHORITIES) } : {}),
    ...(pick(12) === 0 ? { scheme: makeText(pick, ['http', 'https']) } : {}),
    ...(pick(12) === 0 ? { sourceNamespace: oneOf(pick, NAMESPACES, '') } : {}),
  };
}

export function makeRule(name: string, matches: readonly HttpMatch[]): HttpRule {
  return { name, matches, filters: [], backends: [] };
}

/** @param most rules; the matches of a rule are up to four, and sometimes very many. */
export function makeRoutes(pick: Pick, most: number): HttpRoutes {
  return {
    choice: pick(2) === 0 ? 'precedence' : 'order',
    grpc: false,
    rules: Array.from({ length: pick(most + 1) }, (_, index) => {
      const matches = pick(10) === 0 ? pick(40) : pick(5);
      return makeRule(
        `rule-${index}`,
        Array.from({ length: matches }, () => makeMatch(pick)),
      );
    }),
  };
}

export function makeRequest(pick: Pick): ModelRequest {
  const field = (): readonly [string, string] => [oneOf(pick, NAMES, 'x'), oneOf(pick, VALUES, '')];
  const parameters = Array.from({ length: pick(4) }, () => {
    const [name, value] = field();
    const escaped = pick(4) === 0 ? name.replace('x', '%78') : name;
    return pick(8) === 0 ? escaped : `${escaped}=${value.replace(' ', '%20')}`;
  });
  const query = pick(2) === 0 ? '' : `?${parameters.join('&')}`;
  return {
    method: oneOf(pick, METHODS, 'GET'),
    scheme: pick(2) === 0 ? 'http' : 'https',
    authority: oneOf(pick, AUTHORITIES, 'shop'),
    path: pick(50) === 0 ? '*' : makePath(pick) + query,
    fields: Array.from({ length: pick(5) }, field),
    namespace: pick(3) === 0 ? undefined : oneOf(pick, NAMESPACES, ''),
  };
}

export function toHeaders(request: ModelRequest): HeaderList {
  const { method, scheme, authority, path, fields } = request;
  return [
    ...[':method', method, ':scheme', scheme, ':authority', authority, ':path', path],
    ...fields.flat(),
  ];
}
