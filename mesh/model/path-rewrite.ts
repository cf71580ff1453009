/** How a redirect or rewrite changes the path of a request; the query is no part of it. */
export type PathRewrite = Readonly<
  { kind: 'full'; path: string } | { kind: 'prefix'; replacement: string }
>;

/**
 * The path that a request goes on with.
 *
 * @param prefix the PathPrefix by which `path` was matched: whole segments of it, so that `/foo` is never a prefix of `/foobar`.
 */
export function rewritePath(rewrite: PathRewrite, path: string, prefix: string): string {
  if (rewrite.kind === 'full') return withSlash(rewrite.path);
  const rest = path.slice(withoutEnd(prefix).length);
  return withSlash(withoutEnd(rewrite.replacement) + rest);
}

/** A slash at the end of a prefix or its replacement means nothing: segments are what is replaced. */
function withoutEnd(prefix: string): string {
  return prefix.endsWith('/') ? prefix.slice(0, -1) : prefix;
}

/** No request line begins with another character: what is configured may. */
function withSlash(path: string): string {
  return path.startsWith('/') ? path : `/${path}`;
}
