import { rewritePath, type PathRewrite } from './path-rewrite.ts';

export type Scheme = 'http' | 'https';

/** A redirect as a rule has it; what is absent stays as the request had it. */
export type Redirect = Readonly<{
  statusCode: number;
  scheme?: Scheme;
  hostname?: string;
  port?: number;
  path?: PathRewrite;
}>;

/** What a redirect looks at in the request that it answers. */
export type RedirectedRequest = Readonly<{
  scheme: Scheme;
  /** Without a port; an IPv6 address in brackets. */
  hostname: string;
  /** The port of the Service or listener that was asked, whatever the Host header says. */
  port: number;
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
  const authority = port === DEFAULT_PORT[scheme] ? host : `${host}:${port}`;
  const path =
    redirect.path === undefined ? request.path : rewritePath(redirect.path, request.path, prefix);
  const query = request.query === undefined ? '' : `?${request.query}`;
  return `${scheme}://${authority}${path}${query}`;
}
