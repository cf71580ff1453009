import { rewritePath, type PathRewrite } from './path-rewrite.ts';

export type Scheme = 'http' | 'https';

/** A redirect as a rule has it; what is absent stays as the request had it. */
export type Redirect = Readonly<{
  statusCode: number;
  scheme?: Scheme;
  hostname?: string;
  port?: number;
  /** Without a port of its own: that of the host name, as the rule or else the request wrote it, and none where it wrote none. */
  writtenPort?: true;
  path?: PathRewrite;
}>;

/** What a redirect looks at in the request that it answers. */
export type RedirectedRequest = Readonly<{
  scheme: Scheme;
  /** Without a port; an IPv6 address in brackets. */
  hostname: string;
  /** The port of the Service or listener that was asked, whatever the Host header says. */
  port: number;
  /** As the Host header says it. */
  authority: string;
  /** Without the query. */
  path: string;
  /** Without the question mark; `undefined` when there was none. */
  query: string | undefined;
}>;

const DEFAULT_PORT: Readonly<Record<Scheme, number>> = { http: 80, https: 443 };

/**
 * The `Location` of a redirect.
 *
 * @param prefix the PathPrefix by which the request was matched, for a replacement of it.
 */
export function redirectLocation(
  redirect: Redirect,
  request: RedirectedRequest,
  prefix: string,
): string {
  const scheme = redirect.scheme ?? request.scheme;
  // Another scheme comes with its own port; without one, the port that was asked goes on.
  const port =
    redirect.port ?? (redirect.scheme === undefined ? request.port : DEFAULT_PORT[scheme]);
  const host = redirect.hostname ?? request.hostname;
  const isWritten = redirect.writtenPort === true && redirect.port === undefined;
  const authority = isWritten
    ? writtenAuthority(redirect, request, scheme)
    : port === DEFAULT_PORT[scheme]
      ? host
      : `${host}:${port}`;
  const path =
    redirect.path === undefined ? request.path : rewritePath(redirect.path, request.path, prefix);
  // A path that is configured with a query brings its own.
  const query = request.query === undefined || path.includes('?') ? '' : `?${request.query}`;
  return `${scheme}://${authority}${path}${query}`;
}

/** A port that only says which scheme it was does not go along to another scheme. */
function writtenAuthority(
  { hostname }: Redirect,
  request: RedirectedRequest,
  scheme: Scheme,
): string {
  if (hostname !== undefined) return hostname;
  const isDefault = request.authority.endsWith(`:${DEFAULT_PORT[request.scheme]}`);
  return scheme !== request.scheme && isDefault ? request.hostname : request.authority;
}
