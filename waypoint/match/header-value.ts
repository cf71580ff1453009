import { findHeader, type HeaderList } from '../../net/h2/headers.ts';

/**
 * What a condition on a header sees: the values of all fields of that (lower-case) name, joined by commas, as Envoy does;
 * crumbs of a cookie by semicolons (RFC 9113 section 8.2.3). `host` is the authority of the request, by whichever name.
 */
export function headerValue(headers: HeaderList, name: string): string | undefined {
  if (name === 'host' || name === ':authority')
    return findHeader(headers, ':authority') ?? findHeader(headers, 'host');
  let joined: string | undefined;
  for (let index = 0; index < headers.length; index += 2) {
    if (headers[index] !== name) continue;
    const value = headers[index + 1] ?? '';
    if (joined === undefined) joined = value;
    else joined += (name === 'cookie' ? '; ' : ',') + value;
  }
  return joined;
}
