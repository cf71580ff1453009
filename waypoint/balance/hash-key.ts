import { unreachable } from '../../base/unreachable.ts';
import type { HashSource } from '../../mesh/model/traffic-policy.ts';
import { findHeader, type HeaderList } from '../../net/h2/headers.ts';
import { findCookie, findPair } from '../cookie.ts';
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

/** As it was sent, not decoded: a hash needs no more. */
export function findQueryParameter(path: string, name: string): string | undefined {
  const start = path.indexOf('?');
  return start < 0 ? undefined : findPair(path, name, start + 1, '&');
}
