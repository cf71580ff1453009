import type { HeaderList } from '../h2/headers.ts';
import { isAllOf, TOKEN } from './characters.ts';
import { Http1Violation } from './errors.ts';
import { LENGTH_DIGITS } from './limits.ts';

/** How long a body is: so many bytes, or one of these. RFC 9112 section 6.3. */
export const NO_BODY = 0;
export const CHUNKED = -1;
/** Responses only. */
export const UNTIL_CLOSE = -2;

/** What the fields that frame a message say; a head that says two things was refused. */
type Lengths = Readonly<{
  /** -1 without content-length. */
  contentLength: number;
  chunked: boolean;
}>;

/** @param minor of the message's version. @throws {Http1Violation} */
function readLengths(fields: HeaderList, minor: 0 | 1): Lengths {
  let contentLength = -1;
  let coding: string | undefined;
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index];
    const value = fields[index + 1] ?? '';
    if (name === 'content-length') {
      // Equal ones too: no honest sender repeats it, and `5, 5` is how requests are smuggled (attack S2).
      if (contentLength !== -1) throw new Http1Violation('content-length-repeated');
      contentLength = parseLength(value);
    } else if (name === 'transfer-encoding') {
      if (coding !== undefined) throw new Http1Violation('transfer-encoding-repeated');
      coding = value;
    }
  }
  if (coding === undefined) return { contentLength, chunked: false };
  if (minor === 0) throw new Http1Violation('transfer-encoding-in-1.0');
  if (contentLength !== -1) throw new Http1Violation('transfer-encoding-with-length');
  checkCoding(coding);
  return { contentLength, chunked: true };
}

/** @throws {Http1Violation} for anything but digits, and for more than a double counts exactly. */
function parseLength(value: string): number {
  if (value.length === 0 || value.length > LENGTH_DIGITS)
    throw new Http1Violation('content-length');
  let length = 0;
  for (let index = 0; index < value.length; index++) {
    const digit = value.charCodeAt(index) - 0x30;
    if (digit < 0 || digit > 9) throw new Http1Violation('content-length');
    length = length * 10 + digit;
  }
  return length;
}

/** Only `chunked` by itself: a coding that we do not decode would be forwarded to who does (attack S1). */
function checkCoding(value: string): void {
  const lower = value.toLowerCase();
  if (lower === 'chunked') return;
  const codings = lower.split(',').map((coding) => coding.trim());
  const sound = codings.every((coding) => coding.length > 0 && isAllOf(TOKEN, coding));
  const chunkedLast = codings.indexOf('chunked') === codings.length - 1;
  const unknown = sound && chunkedLast && codings.length > 1;
  throw new Http1Violation(unknown ? 'transfer-encoding-unknown' : 'transfer-encoding');
}

/**
 * The body that follows a request's head: NO_BODY, CHUNKED or its length.
 *
 * @throws {Http1Violation} when the fields disagree, or announce a body for CONNECT, which is followed by its tunnel.
 */
export function requestBody(method: string, minor: 0 | 1, fields: HeaderList): number {
  const { contentLength, chunked } = readLengths(fields, minor);
  const length = chunked ? CHUNKED : Math.max(contentLength, 0);
  if (method === 'CONNECT' && (chunked || contentLength !== -1))
    throw new Http1Violation('body-where-none-can-be');
  return length;
}

/**
 * The body that follows a response's head: NO_BODY, CHUNKED, UNTIL_CLOSE or its length. After 101, and 2xx for CONNECT,
 * NO_BODY is followed by the tunnel.
 *
 * @param method of the request that it answers.
 * @throws {Http1Violation} when the fields disagree, or frame a body where none can be (attack S14).
 */
export function responseBody(
  method: string,
  status: number,
  minor: 0 | 1,
  fields: HeaderList,
): number {
  const { contentLength, chunked } = readLengths(fields, minor);
  if (status < 200 || status === 204 || (method === 'CONNECT' && status < 300)) {
    // `content-length: 0` is forbidden there too (RFC 9110 section 8.6), but common and harmless.
    if (chunked || contentLength > 0) throw new Http1Violation('body-where-none-can-be');
    return NO_BODY;
  }
  // There they tell what another answer would have had.
  if (method === 'HEAD' || status === 304) return NO_BODY;
  if (chunked) return CHUNKED;
  return contentLength === -1 ? UNTIL_CLOSE : contentLength;
}
