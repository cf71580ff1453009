import { MeshError } from '../../base/errors.ts';
import type { HeaderField } from '../../mesh/model/http-filter.ts';
import type { SessionPersistence } from '../../mesh/model/http-route.ts';
import { sessionPersistenceProblem } from '../../mesh/model/http-rule-problem.ts';
import { findHeader, type HeaderList } from '../../net/h2/headers.ts';
import { headerValue } from '../match/header-value.ts';

/** @throws {MeshError} ERR_SESSION_PERSISTENCE for a name or path that would make another field out of a token. */
export function checkPersistence(persistence: SessionPersistence): void {
  const problem = sessionPersistenceProblem(persistence);
  if (problem !== undefined)
    throw new MeshError('ERR_SESSION_PERSISTENCE', 'local', `Cannot keep sessions: ${problem}`);
}

/** The token that a request brings back. */
export function requestToken(
  persistence: SessionPersistence,
  headers: HeaderList,
): string | undefined {
  if (persistence.kind === 'header') return findHeader(headers, persistence.name);
  const cookies = headerValue(headers, 'cookie');
  return cookies === undefined ? undefined : findCookie(cookies, persistence.name);
}

/** The first of that name. RFC 6265 section 5.4: the one with the longest path. */
function findCookie(cookies: string, name: string): string | undefined {
  for (let from = 0; from < cookies.length; ) {
    const next = cookies.indexOf(';', from);
    const end = next < 0 ? cookies.length : next;
    while (cookies.charCodeAt(from) === SPACE) from++;
    const value = from + name.length + 1;
    if (cookies.startsWith(name, from) && cookies.charCodeAt(value - 1) === EQUALS)
      return cookies.slice(value, end).trim();
    from = end + 1;
  }
  return undefined;
}

const SPACE = 0x20;
const EQUALS = 0x3d;

/**
 * The field of a response that gives a client its token; sent when the session is new or broken.
 *
 * @param isSecure the client came by https.
 */
export function tokenField(
  persistence: SessionPersistence,
  token: string,
  isSecure: boolean,
): HeaderField {
  if (persistence.kind === 'header') return { name: persistence.name, value: token };
  const { name, path, lifetimeMs } = persistence;
  const parts = [`${name}=${token}`, `Path=${path}`];
  if (lifetimeMs !== undefined) parts.push(`Max-Age=${Math.max(1, Math.floor(lifetimeMs / 1000))}`);
  parts.push('HttpOnly', ...(isSecure ? ['Secure'] : []), 'SameSite=Strict');
  return { name: 'set-cookie', value: parts.join('; ') };
}
