/** How a redirect or rewrite changes the path of a request; the query is no part of it. */
export type PathRewrite = Readonly<
  | { kind: 'full'; path: string }
  | { kind: 'prefix'; replacement: string }
  /** Of characters, not of segments: what VirtualService replaces. */
  | { kind: 'text-prefix'; replacement: string }
>;

/** Every place where the pattern (RE2) matches gets the text, in which `\1` to `\9` are groups, `\0` is all, `\\` a backslash. */
export type PathSubstitution = Readonly<{ kind: 'regex'; pattern: string; substitution: string }>;

/**
 * The path that a request goes on with.
 *
 * @param prefix by which `path` was matched. It replaces whole segments, so that `/foo` is never a prefix of `/foobar`, unless
 *   characters are what is replaced.
 */
export function rewritePath(rewrite: PathRewrite, path: string, prefix: string): string {
  switch (rewrite.kind) {
    case 'full':
      return withSlash(rewrite.path);
    case 'prefix':
      return withSlash(withoutEnd(rewrite.replacement) + path.slice(withoutEnd(prefix).length));
    case 'text-prefix':
      return withSlash(rewrite.replacement + path.slice(prefix.length));
  }
}

/** A slash at the end of a prefix or its replacement means nothing: segments are what is replaced. */
function withoutEnd(prefix: string): string {
  return prefix.endsWith('/') ? prefix.slice(0, -1) : prefix;
}

/** No request line begins with another character: what is configured may. */
export function withSlash(path: string): string {
  return path.startsWith('/') ? path : `/${path}`;
}
