/**
 * Header lists and what RFC 9113 section 8 asks of them.
 *
 * A list is flat, `[name, value, name, value, ...]`, pseudo-header fields first, names in lower case, values latin1 (a
 * character is a byte): one array, and strings that the table of HPACK shares among all lists that hold them.
 */
export type HeaderList = readonly string[];

/** The value of the first field of that (lower-case) name. */
export function findHeader(headers: HeaderList, name: string): string | undefined {
  for (let index = 0; index < headers.length; index += 2)
    if (headers[index] === name) return headers[index + 1];
  return undefined;
}

/** Lower-case token characters. RFC 9110 section 5.6.2, RFC 9113 section 8.2.1. */
const nameCharacters = new Uint8Array(256);
for (const character of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
  nameCharacters[character.charCodeAt(0)] = 1;

const COLON = 0x3a;

/**
 * Whether one field may stand in a list at all, whatever its place: the characters of name and value, and no field that
 * belongs to an HTTP/1.1 connection. It depends on nothing else, so the answer is kept with an entry of the HPACK table.
 */
export function isValidField(name: string, value: string): boolean {
  return isValidName(name) && isValidValue(value) && !isConnectionField(name, value);
}

function isValidName(name: string): boolean {
  const first = name.charCodeAt(0) === COLON ? 1 : 0;
  if (name.length === first) return false;
  for (let index = first; index < name.length; index++)
    if (nameCharacters[name.charCodeAt(index)] !== 1) return false;
  return true;
}

/**
 * Visible characters, spaces and tabs inside, and bytes from 0x80 on. CR, LF and NUL would be injection (attack H19);
 * the other control characters are no valid text either (RFC 9110 section 5.5), and nghttp2 refuses them too.
 */
function isValidValue(value: string): boolean {
  const { length } = value;
  if (length === 0) return true;
  for (let index = 0; index < length; index++) {
    const code = value.charCodeAt(index);
    if ((code < 0x20 && code !== 0x09) || code === 0x7f || code > 0xff) return false;
  }
  return !isSpace(value.charCodeAt(0)) && !isSpace(value.charCodeAt(length - 1));
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

/** RFC 9113 section 8.2.2. */
function isConnectionField(name: string, value: string): boolean {
  switch (name.length) {
    case 2:
      return name === 'te' && value !== 'trailers';
    case 7:
      return name === 'upgrade';
    case 10:
      return name === 'connection' || name === 'keep-alive';
    case 16:
      return name === 'proxy-connection';
    case 17:
      return name === 'transfer-encoding';
    default:
      return false;
  }
}

/** What a list says about its message, or why it cannot be one. */
export type MessageHead = {
  /** The value of content-length, or -1 without one. */
  contentLength: number;
  /** `:method` of a request, '' for a response. */
  method: string;
  /** `:status` of a response, 0 for a request. */
  status: number;
  /** What is wrong, '' when nothing is. */
  fault: string;
};

/**
 * Reads the head of a request whose fields are each valid. RFC 9113 sections 8.3.1 and 8.5, RFC 8441 section 4.
 *
 * @param headers `:scheme` is written back in lower case where it was not (attack H21).
 * @param extendedConnect whether CONNECT with `:protocol` is allowed here.
 */
export function readRequestHead(
  headers: string[],
  extendedConnect: boolean,
  head: MessageHead,
): void {
  let method: string | undefined;
  let scheme: string | undefined;
  let authority: string | undefined;
  let path: string | undefined;
  let protocol: string | undefined;
  let index = 0;
  head.fault = '';
  head.status = 0;
  for (; (headers[index] ?? '').charCodeAt(0) === COLON; index += 2) {
    const name = headers[index];
    const value = headers[index + 1] ?? '';
    if (name === ':method' && method === undefined) method = value;
    else if (name === ':path' && path === undefined) path = value;
    else if (name === ':authority' && authority === undefined) authority = value;
    else if (name === ':protocol' && protocol === undefined) protocol = value;
    else if (name === ':scheme' && scheme === undefined) {
      scheme = value.toLowerCase();
      headers[index + 1] = scheme;
    } else {
      head.fault = `${name ?? ''} is repeated or not of a request`;
      return;
    }
  }
  head.method = method ?? '';
  const host = readFields(headers, index, head);
  if (head.fault !== '') return;
  if (method === undefined || !isToken(method)) head.fault = ':method is missing or wrong';
  else if (authority !== undefined && !isAuthority(authority))
    head.fault = ':authority is not an authority';
  else if (method === 'CONNECT' && protocol === undefined) {
    if (authority === undefined) head.fault = 'CONNECT without :authority';
    else if (scheme !== undefined || path !== undefined)
      head.fault = 'CONNECT with :scheme or :path';
  } else if (protocol !== undefined && (!extendedConnect || method !== 'CONNECT'))
    head.fault = ':protocol without leave';
  else if (scheme === undefined || !isScheme(scheme)) head.fault = ':scheme is missing or wrong';
  else if (path === undefined || !isPath(path, method)) head.fault = ':path is missing or wrong';
  // Two names for the target would let routing and policy read different ones. RFC 9113 section 8.3.1.
  else if (host !== undefined && authority !== undefined && !sameHost(host, authority))
    head.fault = 'host is not :authority';
  else if (host === undefined && authority === undefined && protocol !== undefined)
    head.fault = 'extended CONNECT without :authority';
}

/** Reads the head of a response whose fields are each valid. RFC 9113 section 8.3.2. */
export function readResponseHead(headers: HeaderList, head: MessageHead): void {
  head.fault = '';
  head.method = '';
  const status = headers[1] ?? '';
  head.status = status.length === 3 ? digits(status) : -1;
  // 101 belongs to HTTP/1.1 alone. RFC 9113 section 8.6.
  if (headers[0] !== ':status' || head.status < 100 || head.status === 101)
    head.fault = ':status is missing or wrong';
  else readFields(headers, 2, head);
}

/** Reads trailers whose fields are each valid: no pseudo-header fields. RFC 9113 section 8.1. */
export function readTrailers(headers: HeaderList, head: MessageHead): void {
  head.fault = '';
  readFields(headers, 0, head);
}

/** The fields after the pseudo-header fields; returns `host`. */
function readFields(headers: HeaderList, from: number, head: MessageHead): string | undefined {
  let host: string | undefined;
  head.contentLength = -1;
  for (let index = from; index < headers.length; index += 2) {
    const name = headers[index] ?? '';
    if (name.charCodeAt(0) === COLON) head.fault = `${name} is out of place`;
    else if (name === 'content-length') {
      const length = digits(headers[index + 1] ?? '');
      // Also for equal ones: a list like `5, 5` is how requests are smuggled (attack H20).
      if (head.contentLength >= 0 || length < 0) head.fault = 'content-length is wrong or repeated';
      head.contentLength = length;
    } else if (name === 'host') {
      if (host !== undefined) head.fault = 'host is repeated';
      host = headers[index + 1];
    }
  }
  return host;
}

/** The number that up to 15 decimal digits make; -1 for anything else. */
function digits(text: string): number {
  if (text.length === 0 || text.length > 15) return -1;
  let value = 0;
  for (let index = 0; index < text.length; index++) {
    const digit = text.charCodeAt(index) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

function isToken(method: string): boolean {
  if (method.length === 0) return false;
  for (let index = 0; index < method.length; index++) {
    const code = method.charCodeAt(index);
    const lower = code >= 0x41 && code <= 0x5a ? code + 0x20 : code;
    if (nameCharacters[lower] !== 1) return false;
  }
  return true;
}

function isScheme(scheme: string): boolean {
  return scheme === 'http' || scheme === 'https' || /^[a-z][a-z0-9+.-]*$/.test(scheme);
}

/** Origin form, or `*` for OPTIONS; no spaces, which would end it in HTTP/1.1. RFC 9113 section 8.3.1. */
function isPath(path: string, method: string): boolean {
  if (path === '*') return method === 'OPTIONS';
  if (path.charCodeAt(0) !== 0x2f) return false;
  for (let index = 1; index < path.length; index++)
    if (path.charCodeAt(index) <= 0x20) return false;
  return true;
}

/** No userinfo (RFC 9113 section 8.3.1), and nothing that would end an authority; who uses it knows its exact grammar. */
function isAuthority(authority: string): boolean {
  if (authority.length === 0) return false;
  for (let index = 0; index < authority.length; index++) {
    const code = authority.charCodeAt(index);
    // space, controls, non-ASCII, " # / ? @ \
    if (code <= 0x20 || code >= 0x7f || code === 0x22 || code === 0x23) return false;
    if (code === 0x2f || code === 0x3f || code === 0x40 || code === 0x5c) return false;
  }
  return true;
}

function sameHost(host: string, authority: string): boolean {
  return host === authority || host.toLowerCase() === authority.toLowerCase();
}
