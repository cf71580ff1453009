import {
  redirectLocation,
  type Redirect,
  type RedirectedRequest,
  type Scheme,
} from '../../mesh/model/redirect.ts';
import { findHeader, type HeaderList } from '../../net/h2/headers.ts';
import { headerValue } from '../match/header-value.ts';
import { NO_BODY, type FilterAnswer } from './respond.ts';
import { splitTarget } from './rewrite.ts';

/**
 * The whole response of a redirect.
 *
 * @param port of the Service that was asked.
 * @param prefix that the request was matched by, for a replacement of it.
 */
export function redirectAnswer(
  redirect: Redirect,
  headers: HeaderList,
  port: number,
  prefix: string,
): FilterAnswer {
  const location = redirectLocation(redirect, redirectedRequest(headers, port), prefix);
  const status = String(redirect.statusCode);
  return {
    headers: [':status', status, 'location', location, 'content-length', '0'],
    body: NO_BODY,
    reason: 'redirect',
  };
}

function redirectedRequest(headers: HeaderList, port: number): RedirectedRequest {
  const scheme: Scheme = findHeader(headers, ':scheme') === 'https' ? 'https' : 'http';
  const authority = headerValue(headers, ':authority') ?? '';
  return { scheme, hostname: withoutPort(authority), authority, port, ...splitTarget(headers) };
}

/** An IPv6 address keeps its brackets. */
function withoutPort(authority: string): string {
  const colon = authority.lastIndexOf(':');
  return colon > authority.lastIndexOf(']') ? authority.slice(0, colon) : authority;
}
