import { canonicalAuthority, hasPort } from './authority.ts';
import { isAllOf, PATH, QUERY } from './characters.ts';
import { Http1Violation } from './errors.ts';

/** RFC 9112 section 3.2. `authority` is canonical, '' where the target names none; `path` is '' for CONNECT. */
export type RequestTarget = Readonly<{
  form: 'origin' | 'absolute' | 'authority' | 'asterisk';
  authority: string;
  /** Path and query. */
  path: string;
}>;

/**
 * Reads a target in the form that its method allows.
 *
 * @param scheme of the connection, `http` or `https`; an absolute form must agree with it.
 * @throws {Http1Violation} target.
 */
export function parseTarget(method: string, target: string, scheme: string): RequestTarget {
  if (method === 'CONNECT') {
    // CONNECT has no scheme, so no port is its default.
    const authority = canonicalAuthority(target, '');
    if (authority === '' || !hasPort(target)) throw new Http1Violation('target');
    return { form: 'authority', authority, path: '' };
  }
  if (target.charCodeAt(0) === 0x2f) {
    checkPath(target, 0);
    return { form: 'origin', authority: '', path: target };
  }
  if (target === '*' && method === 'OPTIONS') return { form: 'asterisk', authority: '', path: '*' };
  return parseAbsolute(method, target, scheme);
}

function parseAbsolute(method: string, target: string, scheme: string): RequestTarget {
  const prefix = scheme.length + 3;
  if (target.slice(0, prefix).toLowerCase() !== `${scheme}://`) throw new Http1Violation('target');
  let pathStart = prefix;
  for (; pathStart < target.length; pathStart++) {
    const code = target.charCodeAt(pathStart);
    if (code === 0x2f || code === 0x3f) break; // `/` or `?`
  }
  const authority = canonicalAuthority(target.slice(prefix, pathStart), scheme);
  if (authority === '') throw new Http1Violation('target');
  checkPath(target, pathStart);
  const rest = target.slice(pathStart);
  // OPTIONS without a path is about the server as a whole. RFC 9112 section 3.2.4.
  if (rest === '' && method === 'OPTIONS') return { form: 'absolute', authority, path: '*' };
  const path = rest.startsWith('/') ? rest : `/${rest}`;
  return { form: 'absolute', authority, path };
}

function checkPath(target: string, from: number): void {
  const query = target.indexOf('?', from);
  const pathEnd = query === -1 ? target.length : query;
  if (!isAllOf(PATH, target, from, pathEnd) || !isAllOf(QUERY, target, pathEnd))
    throw new Http1Violation('target');
}
