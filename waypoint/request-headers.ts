import { tryParseIpAddress, type IpAddress } from '../base/address.ts';
import type { HeaderList } from '../net/h2/headers.ts';
import { canonicalAuthority } from '../net/http1/authority.ts';
import { METHOD, isAllOf } from '../net/http1/characters.ts';

export type HeaderRules = Readonly<{
  /** Names with `_`, which some backends read as `-` (attack M3). */
  allowUnderscores: boolean;
}>;

export const STRICT_HEADERS: HeaderRules = { allowUnderscores: false };

/** What of a request's head decides, in the one form in which routing, policy and backend see it. */
export type RequestHead = Readonly<{
  method: string;
  scheme: string;
  /** Lower case, without the scheme's default port: `:authority` of `headers`. */
  authority: string;
  /** `authority` without its port. */
  hostname: string;
  /** Its port, or the scheme's. */
  hostPort: number;
  /** `:path`, not normalised. */
  target: string;
  /** Without what a client must not say. */
  headers: string[];
}>;

export type HeadFault =
  | 'underscore in a name'
  | 'TRACE'
  | 'CONNECT'
  | 'method'
  | 'scheme'
  | 'no host'
  | 'host'
  | 'two hosts';

export type CheckedHead = Readonly<
  { kind: 'head'; head: RequestHead } | { kind: 'refused'; fault: HeadFault; status: number }
>;

const STATUSES: ReadonlyMap<HeadFault, number> = new Map([
  ['TRACE', 405],
  ['CONNECT', 405],
]);

function refuse(fault: HeadFault): CheckedHead {
  return { kind: 'refused', fault, status: STATUSES.get(fault) ?? 400 };
}

/** Only a proxy that we are sure of may say these; no client is one (attack M1). */
function isOfProxiesOnly(name: string): boolean {
  return name === XFCC || (name.charCodeAt(0) === 0x78 && name.startsWith('x-envoy-'));
}

const XFCC = 'x-forwarded-client-cert';
const DEFAULT_PORTS: ReadonlyMap<string, number> = new Map([
  ['http', 80],
  ['https', 443],
]);

/**
 * Checks the head of a request and brings it into the form that everything after goes by. Pseudo-header fields come
 * first and `host` is `:authority`.
 */
export function checkRequestHead(
  list: HeaderList,
  rules: HeaderRules = STRICT_HEADERS,
): CheckedHead {
  const pseudo = new Map<string, string>();
  const headers: string[] = [];
  let host: string | undefined;
  for (let index = 0; index < list.length; index += 2) {
    const name = list[index] ?? '';
    const value = list[index + 1] ?? '';
    if (name.charCodeAt(0) === 0x3a) pseudo.set(name, value);
    else if (name === 'host') {
      if (host !== undefined && host !== value) return refuse('two hosts');
      host = value;
    } else if (!rules.allowUnderscores && name.includes('_')) return refuse('underscore in a name');
    else if (!isOfProxiesOnly(name)) headers.push(name, value);
  }
  const method = pseudo.get(':method') ?? '';
  const protocol = pseudo.get(':protocol');
  if (method === 'TRACE') return refuse('TRACE');
  if (method === 'CONNECT' && protocol === undefined) return refuse('CONNECT');
  // Methods are case-sensitive, but some servers take `get` for GET (attack S9).
  if (method === '' || !isAllOf(METHOD, method)) return refuse('method');
  const scheme = (pseudo.get(':scheme') ?? '').toLowerCase();
  const defaultPort = DEFAULT_PORTS.get(scheme);
  if (defaultPort === undefined) return refuse('scheme');
  const given = pseudo.get(':authority') ?? host;
  if (given === undefined || given === '') return refuse('no host');
  const authority = canonicalAuthority(given, scheme);
  if (authority === '') return refuse('host');
  if (host !== undefined && canonicalAuthority(host, scheme) !== authority)
    return refuse('two hosts');
  const target = pseudo.get(':path') ?? '';
  const [hostname, port] = splitAuthority(authority);
  const first = [':method', method, ':scheme', scheme, ':authority', authority, ':path', target];
  if (protocol !== undefined) first.push(':protocol', protocol);
  return {
    kind: 'head',
    head: {
      ...{ method, scheme, authority, hostname, target },
      hostPort: port ?? defaultPort,
      headers: [...first, ...headers],
    },
  };
}

/** Host and port of a canonical authority. */
export function splitAuthority(
  authority: string,
): readonly [hostname: string, port: number | undefined] {
  const colon = authority.lastIndexOf(':');
  if (colon <= authority.lastIndexOf(']')) return [authority, undefined];
  return [authority.slice(0, colon), Number(authority.slice(colon + 1))];
}

/** Who the client is, for a backend that is told. */
export type ClientCertificate = Readonly<{
  /** The SPIFFE ids of the waypoint and of the client. */
  by: string;
  uri: string;
  /** SHA-256 of the client's certificate in DER, in hexadecimal. */
  hash?: string;
  subject?: string;
}>;

/** The value of `x-forwarded-client-cert`: pairs in Envoy's order, with quotes where Envoy has them. */
export function formatClientCertificate({ by, uri, hash, subject }: ClientCertificate): string {
  const pairs = [`By=${quoted(by)}`];
  if (hash !== undefined) pairs.push(`Hash=${hash}`);
  // Always in quotes: names of subjects hold commas and equals signs.
  if (subject !== undefined) pairs.push(`Subject="${escapeQuotes(subject)}"`);
  pairs.push(`URI=${quoted(uri)}`);
  return pairs.join(';');
}

function quoted(value: string): string {
  return /[,;="]/.test(value) ? `"${escapeQuotes(value)}"` : value;
}

function escapeQuotes(value: string): string {
  return value.replaceAll('"', '\\"');
}

/** Tells the backend who the client is; the client's own word was taken away by checkRequestHead(). */
export function addClientCertificate(headers: string[], certificate: ClientCertificate): void {
  headers.push(XFCC, formatClientCertificate(certificate));
}

const XFF = 'x-forwarded-for';

/** Appends the address that a request came from to `x-forwarded-for`; what was there is kept and believed by nobody here. */
export function appendForwardedFor(headers: string[], source: IpAddress): void {
  for (let index = headers.length - 2; index >= 0; index -= 2) {
    if (headers[index] !== XFF) continue;
    const before = headers[index + 1] ?? '';
    headers[index + 1] = before === '' ? source : `${before}, ${source}`;
    return;
  }
  headers.push(XFF, source);
}

/**
 * The client that `remote.ip` means (attack A10): the one who dialled us, unless so many proxies before us are trusted
 * to have told of theirs.
 *
 * @param trustedProxies how many, the one who dialled us included.
 */
export function remoteAddress(
  headers: HeaderList,
  source: IpAddress,
  trustedProxies: number,
): IpAddress {
  if (trustedProxies === 0) return source;
  const told: string[] = [];
  for (let index = 0; index < headers.length; index += 2)
    if (headers[index] === XFF) told.push(...(headers[index + 1] ?? '').split(','));
  const entry = told.at(-trustedProxies);
  return (entry === undefined ? undefined : tryParseIpAddress(entry.trim())) ?? source;
}
