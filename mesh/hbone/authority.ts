import { formatSocketAddress, parseSocketAddress, type SocketAddress } from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';

/** What a tunnel asks for: an address of a workload or service, or a service by name. */
export type Authority = Readonly<
  | { kind: 'address'; address: SocketAddress }
  /** Lower case. */
  | { kind: 'hostname'; hostname: string; port: number }
>;

/** RFC 1035 section 2.3.4: 253 characters of name and `:65535`; longer than any bracketed IPv6 address. */
const MAX_AUTHORITY_LENGTH = 259;
/** RFC 1123 section 2.1, of lower and upper case; no underscore, no wildcard, no trailing dot, nothing but ASCII. */
const HOSTNAME =
  /^(?=[^:]{1,253}:)([A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*):([1-9]\d{0,4})$/;
/** A name whose last label is a number is read as an IPv4 address by some resolvers (`127.1`, `10.0.0.0x7f`). */
const ENDS_IN_NUMBER = /(?:^|\.)(?:\d+|0[xX][0-9A-Fa-f]*)$/;

/**
 * Parses the `:authority` of a CONNECT request: `10.0.0.1:80`, `[fd00::1]:80` or `name.example:80`.
 *
 * @throws {MeshError} ERR_AUTHORITY for anything else: userinfo, a zone, an empty, signed or padded port, port 0 or
 *   above 65535, a name with other characters than letters, digits and hyphens, or one that could be an address.
 */
export function parseAuthority(text: string): Authority {
  if (text.length > MAX_AUTHORITY_LENGTH) throw authorityError(text);
  const [, name, port] = HOSTNAME.exec(text) ?? [];
  if (name !== undefined && port !== undefined && !ENDS_IN_NUMBER.test(name)) {
    if (Number(port) > 65535) throw authorityError(text);
    return { kind: 'hostname', hostname: name.toLowerCase(), port: Number(port) };
  }
  try {
    return { kind: 'address', address: parseSocketAddress(text) };
  } catch (cause) {
    throw authorityError(text, cause);
  }
}

/** As parseAuthority() reads it. */
export function formatAuthority(authority: Authority): string {
  return authority.kind === 'address'
    ? formatSocketAddress(authority.address)
    : `${authority.hostname}:${authority.port}`;
}

function authorityError(text: string, cause?: unknown): MeshError {
  const found = JSON.stringify(text.slice(0, 64));
  const message = `Cannot parse authority of a CONNECT request: found ${found}`;
  return new MeshError('ERR_AUTHORITY', 'downstream', message, { cause });
}
