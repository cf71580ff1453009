import {
  rewritePath,
  withSlash,
  type PathRewrite,
  type PathSubstitution,
} from '../../mesh/model/path-rewrite.ts';
import { RegexSubstitution } from '../../mesh/model/regex-substitution.ts';
import { wireText } from '../../mesh/model/wire-text.ts';
import { findHeader, type HeaderList } from '../../net/h2/headers.ts';
import { HeaderEdit, setAuthority } from './header-edit.ts';

/** A rewrite, made to be done. */
export type UrlRewrite = Readonly<{ hostname?: string; path?: PathRewrite | RegexSubstitution }>;

/** @throws {MeshError} ERR_REGEX, ERR_SUBSTITUTION for a substitution that cannot be done. */
export function compileRewrite({
  hostname,
  path,
}: Readonly<{ hostname?: string; path?: PathRewrite | PathSubstitution }>): UrlRewrite {
  return {
    ...(hostname !== undefined && { hostname }),
    ...(path !== undefined && {
      path:
        path.kind === 'regex'
          ? new RegexSubstitution(path.pattern, path.substitution)
          : toWire(path),
    }),
  };
}

/** `.` and `..` as whole segments, also escaped. RFC 3986 section 3.3. */
const DOT_SEGMENT = /(?:^|\/)(?:\.|%2e){1,2}(?:\/|$)/i;

/**
 * The request for another host, or another path with the query that it had.
 *
 * @param prefix that the request was matched by, for a replacement of it.
 * @returns the same list when nothing changes; `undefined` when the new path would have dot segments: a replaced prefix of
 *   characters can leave `/../` of a path that had been normalised, and policy has decided on what was there before. Also for a
 *   path in which a substitution would take too long, or make what is no path.
 */
export function rewriteRequest(
  headers: HeaderList,
  rewrite: UrlRewrite,
  prefix: string,
): HeaderList | undefined {
  const edit = new HeaderEdit(headers);
  if (rewrite.hostname !== undefined) setAuthority(edit, rewrite.hostname);
  if (rewrite.path !== undefined) {
    const { path, query } = splitTarget(headers);
    const rewritten =
      rewrite.path instanceof RegexSubstitution
        ? substituted(rewrite.path, path)
        : rewritePath(rewrite.path, path, prefix);
    if (rewritten === undefined || DOT_SEGMENT.test(rewritten)) return undefined;
    edit.setPseudo(':path', rewritten + (query === undefined ? '' : `?${query}`));
  }
  return edit.headers;
}

/** The path of a request and its query, which is `undefined` without a question mark. */
export function splitTarget(
  headers: HeaderList,
): Readonly<{ path: string; query: string | undefined }> {
  const target = findHeader(headers, ':path') ?? '';
  const mark = target.indexOf('?');
  if (mark < 0) return { path: target, query: undefined };
  return { path: target.slice(0, mark), query: target.slice(mark + 1) };
}

/** A substitution may take the slash away that every path begins with. */
function substituted(substitution: RegexSubstitution, path: string): string | undefined {
  const replaced = substitution.replaceAll(path);
  return replaced === undefined ? undefined : withSlash(replaced);
}

function toWire(rewrite: PathRewrite): PathRewrite {
  return rewrite.kind === 'full'
    ? { kind: 'full', path: wireText(rewrite.path) }
    : { kind: rewrite.kind, replacement: wireText(rewrite.replacement) };
}
