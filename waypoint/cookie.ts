import type { HeaderList } from '../net/h2/headers.ts';

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

/** The value of the first `name=value` from `start` on. */
export function findPair(
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
