import { unreachable } from '../../base/unreachable.ts';
import type { HashSource } from '../../mesh/model/traffic-policy.ts';
import { findHeader, type HeaderList } from '../../net/h2/headers.ts';
import { hashText } from './hash.ts';

/** What a request's hash is made of, and the cookie that a client gets so that its next request has the same. */
export type HashKey = Readonly<{ hash: number; setCookie?: string }>;

/**
 * The hash by which a request is balanced.
 *
 * @param sourceIp of the client's workload.
 * @param random from 0 to below 1, for the value of a cookie.
 * @returns `undefined` where the request has not what is hashed: it goes anywhere.
 */
export function hashRequest(
  source: HashSource,
  headers: HeaderList,
  sourceIp: string,
  random: () => number,
): HashKey | undefined {
  switch (source.kind) {
    case 'header':
      return keyOf(findHeader(headers, source.name.toLowerCase()));
    case 'query':
      return keyOf(findQueryParameter(findHeader(headers, ':path') ?? '', source.name));
    case 'source-ip':
      return keyOf(sourceIp);
    case 'cookie': {
      const value = findCookie(headers, source.name);
      if (value !== undefined || source.ttlMs === undefined) return keyOf(value);
      const made = randomText(random) + randomText(random);
      return { hash: hashText(made), setCookie: formatCookie(source, made, source.ttlMs) };
    }
    default:
      return unreachable(source);
  }
}

function keyOf(text: string | undefined): HashKey | undefined {
  return text === undefined || text === '' ? undefined : { hash: hashText(text) };
}

function randomText(random: () => number): string {
  return Math.floor(random() * 2 ** 32)
    .toString(16)
    .padStart(8, '0');
}

/** A session cookie where the ttl is 0; the path is only there when one is given. */
function formatCookie(
  { name, path }: Readonly<{ name: string; path: string }>,
  value: string,
  ttlMs: number,
): string {
  const age = ttlMs > 0 ? `; Max-Age=${Math.ceil(ttlMs / 1000)}` : '';
  const where = path === '' ? '' : `; Path=${path}`;
  return `${name}="${value}"${age}${where}; HttpOnly`;
}

/** The value of a cookie among all `cookie` fields, without its quotes. HTTP/2 may split them. RFC 6265, RFC 9113 8.2.3. */
export function findCookie(headers: HeaderList, name: string): string | undefined {
  for (let index = 0; index < headers.length; index += 2) {
    if (headers[index] !== 'cookie') continue;
    const value = findPair(headers[index + 1] ?? '', name, 0, ';');
    if (value === undefined) continue;
    const quoted = value.length >= 2 && value.startsWith('"') && value.endsWith('"');
    return quoted ? value.slice(1, -1) : value;
  }
  return undefined;
}

/** As it was sent, not decoded: a hash needs no more. */
export function findQueryParameter(path: string, name: string): string | undefined {
  const start = path.indexOf('?');
  return start < 0 ? undefined : findPair(path, name, start + 1, '&');
}

/** The value of the first `name=value` from `start` on. */
function findPair(
  text: string,
  name: string,
  start: number,
  separator: string,
): string | undefined {
  let at = start;
  while (at < text.length) {
    while (text.charCodeAt(at) === 0x20) at++;
    const next = text.indexOf(separator, at);
    const end = next < 0 ? text.length : next;
    if (text.startsWith(name, at) && text[at + name.length] === '=')
      return text.slice(at + name.length + 1, end);
    at = end + 1;
  }
  return undefined;
}
