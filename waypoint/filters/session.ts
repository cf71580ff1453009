import type { HeaderField } from '../../mesh/model/http-filter.ts';
import type { SessionPersistence } from '../../mesh/model/http-route.ts';
import { findHeader, type HeaderList } from '../../net/h2/headers.ts';
import { findCookie } from '../cookie.ts';

/** The token that a request brings back. */
export function requestToken(
  persistence: SessionPersistence,
  headers: HeaderList,
): string | undefined {
  if (persistence.kind === 'header') return findHeader(headers, persistence.name);
  return findCookie(headers, persistence.name);
}

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
