import { tryParseIpAddress } from '../base/address.ts';
import type { CertificateFacts } from './native/openssl-certificate.ts';

type CertificateNames = Pick<CertificateFacts, 'uris' | 'dnsNames' | 'addresses' | 'namesReadable'>;

/**
 * Whether a certificate is one of a name: a URI, an IP address or a DNS name, each among the names of its own kind. The
 * common name counts for nothing. RFC 9525, section 6.
 */
export function hasName(
  { uris, dnsNames, addresses, namesReadable }: CertificateNames,
  name: string,
): boolean {
  if (!namesReadable) return false;
  if (name.includes('://')) return uris.includes(name);
  const address = tryParseIpAddress(name);
  if (address !== undefined) return addresses.includes(address);
  return dnsNames.some((presented) => matchesHost(presented, name));
}

/** All names of a certificate, for people. */
export function describeNames({ uris, dnsNames, addresses }: CertificateNames): string {
  const names = [...uris, ...dnsNames, ...addresses];
  const shown = names.slice(0, 3).map((name) => JSON.stringify(name.slice(0, 128)));
  const more = names.length > 3 ? ` and ${names.length - 3} more` : '';
  return names.length === 0 ? 'no names' : `${shown.join(', ')}${more}`;
}

/**
 * Whether a DNS name, perhaps a wildcard, means a host. A wildcard is the whole of the first label, stands for one label,
 * and has two labels at least behind it.
 */
export function matchesHost(presented: string, host: string): boolean {
  const wanted = normalHost(host);
  const pattern = normalHost(presented);
  if (wanted === '') return false;
  if (!pattern.startsWith('*.')) return pattern === wanted;
  const dot = wanted.indexOf('.');
  const rest = pattern.slice(1);
  return dot > 0 && rest.includes('.', 1) && wanted.slice(dot) === rest;
}

/** Without a dot at its end, and in small letters of ASCII alone. */
function normalHost(host: string): string {
  const lower = host.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
  return lower.endsWith('.') ? lower.slice(0, -1) : lower;
}
