import { parseClaimName } from '../../../mesh/model/claims.ts';
import type { HttpMatch, PathMatch, ValueMatch } from '../../../mesh/model/http-route.ts';
import { Regex } from '../../../mesh/model/regex.ts';
import type {
  HttpMatchRequest,
  StringMatch,
  VirtualHttpRoute,
} from '../../../mesh/kubernetes/virtual-service.ts';
import { isForMesh, MESH_GATEWAY, type VirtualParts } from './parts.ts';

/** A match as waypoints have it. Where a part of it cannot be asked, it is wider than what was written, and `problem` says why. */
export type TranslatedMatch = Readonly<{ match: HttpMatch; problem?: string }>;

/** A rule without matches has every request; one none of whose matches is for this port has none. */
export type TranslatedMatches = 'all' | readonly TranslatedMatch[];

export const EVERYTHING: HttpMatch = { headers: [], queryParams: [] };

/** The matches of a rule that are for a port and for clients inside the mesh. */
export function translateMatches(
  { match }: VirtualHttpRoute,
  parts: VirtualParts,
): TranslatedMatches {
  if (match.length === 0) return 'all';
  return match.flatMap((one, index) => {
    const at = `match[${index}]`;
    if (one.statPrefix !== '') parts.note(`${at}.statPrefix has no effect`);
    if (!isForMesh(one.gateways)) {
      parts.note(
        `${at} is left out: it is for gateways ${one.gateways.join(', ')}, none is ${MESH_GATEWAY}`,
      );
      return [];
    }
    // Upstream's waypoints leave the whole match out, too: labels of clients are not known there.
    if (one.sourceLabels.size > 0) {
      parts.note(`${at} is left out: a waypoint does not know sourceLabels of its clients`);
      return [];
    }
    if (one.port !== undefined && one.port !== parts.target.port) return [];
    const translated = translateMatch(one);
    if (translated.problem !== undefined) parts.note(`${at}: ${translated.problem}`);
    return [translated];
  });
}

function translateMatch(written: HttpMatchRequest): TranslatedMatch {
  const { uri, method, scheme, authority, ignoreUriCase, sourceNamespace } = written;
  const unknown: string[] = [];
  const headers: ValueMatch[] = [];
  for (const [list, absent] of [
    [written.headers, false],
    [written.withoutHeaders, true],
  ] as const)
    for (const [name, match] of list) {
      if (parseClaimName(name) !== undefined) headers.push(valueMatch(name, match, absent));
      else if (name.startsWith('@')) unknown.push(name);
      else headers.push(valueMatch(name.toLowerCase(), match, absent));
    }
  const path = uri && pathMatch(uri, ignoreUriCase);
  const authorityText = authority && textMatch(authority);
  const schemeText = scheme && textMatch(scheme);
  // A method by prefix or pattern is a header like any other.
  if (method !== undefined && method.exact === undefined)
    headers.push(valueMatch(':method', method, false));
  const match: HttpMatch = {
    ...(path && { path }),
    ...(method?.exact !== undefined && { method: method.exact }),
    headers,
    queryParams: [...written.queryParams].map(([name, value]) => valueMatch(name, value, false)),
    ...(authorityText && { authority: authorityText }),
    ...(schemeText && { scheme: schemeText }),
    ...(sourceNamespace !== '' && { sourceNamespace }),
  };
  if (unknown.length === 0) return { match };
  return { match, problem: `requests are not matched by ${unknown.join(', ')}` };
}

function textMatch({ exact, prefix, regex }: StringMatch): HttpMatch['authority'] {
  if (exact !== undefined) return { kind: 'exact', value: exact };
  if (prefix !== undefined) return { kind: 'prefix', value: prefix };
  return regex === undefined ? undefined : { kind: 'regex', value: regex };
}

function pathMatch(match: StringMatch, ignoreCase: boolean): PathMatch | undefined {
  const text = textMatch(match);
  if (text === undefined) return undefined;
  if (text.kind === 'regex') return { kind: 'regex', value: text.value };
  const kind = text.kind === 'prefix' ? 'text-prefix' : 'exact';
  return { kind, value: text.value, ...(ignoreCase && { ignoreCase }) };
}

function valueMatch(name: string, match: StringMatch, absent: boolean): ValueMatch {
  const turned = absent ? { absent } : {};
  const text = textMatch(match);
  return text === undefined
    ? { name, kind: 'present', ...turned }
    : { name, kind: text.kind, value: text.value, ...turned };
}

/**
 * What both a rule and one that it delegates to match.
 *
 * @returns `undefined` where the second is not within the first, which delegation asks for.
 */
export function bothMatch(
  root: TranslatedMatch,
  leaf: TranslatedMatch,
): TranslatedMatch | undefined {
  const [one, other] = [root.match, leaf.match];
  const path = narrowerPath(one.path, other.path);
  if (path === 'neither') return undefined;
  if (differ(one.method, other.method)) return undefined;
  if (differ(one.sourceNamespace, other.sourceNamespace)) return undefined;
  const headers = [...one.headers, ...other.headers];
  // There is one place for each of these: the other stands among the headers.
  if (one.authority && other.authority) headers.push({ name: ':authority', ...one.authority });
  if (one.scheme && other.scheme) headers.push({ name: ':scheme', ...one.scheme });
  const problem = root.problem ?? leaf.problem;
  const match: HttpMatch = {
    ...one,
    ...other,
    ...(path && { path }),
    headers,
    queryParams: [...one.queryParams, ...other.queryParams],
  };
  return { match, ...(problem !== undefined && { problem }) };
}

function differ(one: string | undefined, other: string | undefined): boolean {
  return one !== undefined && other !== undefined && one !== other;
}

function narrowerPath(
  root: PathMatch | undefined,
  leaf: PathMatch | undefined,
): PathMatch | undefined | 'neither' {
  if (root === undefined || leaf === undefined) return leaf ?? root;
  return isWithin(leaf, root) ? leaf : 'neither';
}

/** Whether one path match holds only where the other does, as far as that can be told. */
export function isWithin(inner: PathMatch, outer: PathMatch): boolean {
  if (inner.kind === outer.kind && inner.value === outer.value)
    return outer.ignoreCase === true || inner.ignoreCase !== true;
  if (outer.kind === 'regex') {
    if (/^\/?\.\*$/.test(outer.value)) return inner.kind === 'regex' || inner.value.startsWith('/');
    return inner.kind === 'exact' && inner.ignoreCase !== true && matches(outer.value, inner.value);
  }
  if (inner.kind === 'regex') return outer.kind !== 'exact' && outer.value === '/';
  if (inner.ignoreCase === true && outer.ignoreCase !== true) return false;
  const fold = (text: string): string => (outer.ignoreCase === true ? text.toLowerCase() : text);
  const [value, bound] = [fold(inner.value), fold(outer.value)];
  switch (outer.kind) {
    case 'exact':
      return inner.kind === 'exact' && value === bound;
    case 'text-prefix':
      // A prefix of segments also holds without the slash at its end.
      return (inner.kind === 'prefix' ? value.replace(/\/$/, '') : value).startsWith(bound);
    case 'prefix': {
      const segments = bound.replace(/\/$/, '');
      if (value.startsWith(`${segments}/`)) return true;
      return value === segments && inner.kind !== 'text-prefix';
    }
  }
}

/** Texts that a waypoint would be asked about are as long as people write them. */
function matches(pattern: string, value: string): boolean {
  const regex = new Regex(pattern);
  return (
    value.length <= regex.maxInputLength && regex.matches(Buffer.from(value).toString('latin1'))
  );
}
