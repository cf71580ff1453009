import { isIPv6 } from 'node:net';
import { HOST_NAME, isAllOf } from './characters.ts';

const MAX_PORT = 65_535;
const DEFAULT_PORTS: ReadonlyMap<string, number> = new Map([
  ['http', 80],
  ['https', 443],
]);

/**
 * The one form in which an authority is compared, matched and told to policy (attack S8): in lower case, without the
 * scheme's default port and without the dot at a name's end. '' for what is no authority: an empty host, userinfo, a
 * zone, an empty or impossible port, percent-encoding.
 */
export function canonicalAuthority(text: string, scheme: string): string {
  const hostEnd = endOfHost(text);
  if (hostEnd <= 0) return '';
  let port = '';
  if (hostEnd < text.length) {
    const number = parsePort(text, hostEnd + 1);
    if (number === 0) return '';
    if (number !== DEFAULT_PORTS.get(scheme)) port = `:${number}`;
  }
  let host = text.slice(0, hostEnd).toLowerCase();
  if (host.endsWith('.')) host = host.slice(0, -1);
  return host === '' || host.endsWith('.') ? '' : host + port;
}

/** Whether it is an authority that names its port, as CONNECT asks for. RFC 9112 section 3.2.3. */
export function hasPort(text: string): boolean {
  const hostEnd = endOfHost(text);
  return hostEnd > 0 && hostEnd < text.length && parsePort(text, hostEnd + 1) !== 0;
}

/** Host and port of a canonical authority. */
export function splitAuthority(
  authority: string,
): readonly [hostname: string, port: number | undefined] {
  const colon = authority.lastIndexOf(':');
  if (colon <= authority.lastIndexOf(']')) return [authority, undefined];
  return [authority.slice(0, colon), Number(authority.slice(colon + 1))];
}

/** Where the host ends, at a colon or at the end of the text; -1 when there is none or something else follows. */
function endOfHost(text: string): number {
  let end: number;
  if (text.startsWith('[')) {
    end = text.indexOf(']') + 1;
    const address = text.slice(1, end - 1);
    if (end === 0 || address.includes('%') || !isIPv6(address)) return -1;
  } else {
    end = text.indexOf(':');
    if (end === -1) end = text.length;
    if (!isAllOf(HOST_NAME, text, 0, end)) return -1;
  }
  return end === text.length || text.charCodeAt(end) === 0x3a ? end : -1;
}

/** The port that stands from `from` on; 0 for none that can be. */
function parsePort(text: string, from: number): number {
  if (text.length === from || text.length - from > 5) return 0;
  let port = 0;
  for (let index = from; index < text.length; index++) {
    const digit = text.charCodeAt(index) - 0x30;
    if (digit < 0 || digit > 9) return 0;
    port = port * 10 + digit;
  }
  return port > MAX_PORT ? 0 : port;
}
