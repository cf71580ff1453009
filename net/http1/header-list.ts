import { findHeader, type HeaderList } from '../h2/headers.ts';
import { acceptsTrailers, endToEndFields } from './hop-by-hop.ts';
import type { RequestHead, ResponseHead } from './parse.ts';
import { type ComposedHead, composeRequestHead, headError, WHOLE } from './serialize.ts';

const COLON = 0x3a;
const NOTHING = {};
const statusTexts: string[] = [];

/** A request's head in the form that both versions share; see HttpExchange. */
export function requestList(head: RequestHead, scheme: string, protocol: string): string[] {
  const { method, authority, target, fields } = head;
  const list = [':method', method, ':scheme', scheme, ':authority', authority, ':path'];
  list.push(target.path);
  if (protocol !== '') list.push(':protocol', protocol);
  endToEndFields(fields, list, 'host');
  if (acceptsTrailers(fields)) list.push('te', 'trailers');
  return list;
}

/** A response's head in that form. */
export function responseList({ status, fields }: ResponseHead): string[] {
  return endToEndFields(fields, [':status', (statusTexts[status] ??= String(status))]);
}

/** What goes out for a list that begins with `:method`. */
export type OutgoingRequest = ComposedHead &
  Readonly<{
    method: string;
    /** What is asked for, in lower case; '' for nothing. */
    upgrade: string;
    expectsContinue: boolean;
  }>;

/**
 * Composes the head of a request that is given as a list.
 *
 * @throws {MeshError} ERR_HTTP1_HEAD as composeRequestHead().
 */
export function composeRequestList(list: HeaderList, endStream: boolean): OutgoingRequest {
  let method = '';
  let authority: string | undefined;
  let path = '';
  let upgrade = '';
  let index = 0;
  for (; (list[index] ?? '').charCodeAt(0) === COLON; index += 2) {
    const value = list[index + 1] ?? '';
    switch (list[index]) {
      case ':method':
        method = value;
        break;
      case ':authority':
        authority = value;
        break;
      case ':path':
        path = value;
        break;
      case ':protocol':
        upgrade = value.toLowerCase();
        break;
      default: // :scheme, which the connection has
    }
  }
  if (method === 'CONNECT') throw headError('the method');
  // What follows is the other protocol's, not a body.
  const ends = endStream || upgrade !== '';
  const connection = upgrade === '' ? NOTHING : { upgrade };
  let fields = list;
  let place = WHOLE;
  if (authority !== undefined && isPlain(list, index)) place = { from: index, host: authority };
  else fields = requestFields(list, index, authority);
  const { text, lines, body } = composeRequestHead(method, path, fields, ends, connection, place);
  const expectsContinue = !ends && findHeader(list, 'expect') !== undefined;
  return { text, lines, body, method, upgrade, expectsContinue };
}

/** Whether the fields from `from` on go out as they are: a host of their own, or a second cookie, is rare. */
function isPlain(list: HeaderList, from: number): boolean {
  let cookies = 0;
  for (let index = from; index < list.length; index += 2) {
    const name = list[index];
    if (name === 'host' || (name === 'cookie' && ++cookies > 1)) return false;
  }
  return true;
}

/** The fields from `from` on, behind a host; cookies that HTTP/2 may cut are one again. RFC 9113 section 8.2.3. */
function requestFields(list: HeaderList, from: number, authority: string | undefined): string[] {
  const fields = ['host', authority ?? findHeader(list, 'host') ?? ''];
  let cookieAt = -1;
  for (let index = from; index < list.length; index += 2) {
    const name = list[index] ?? '';
    const value = list[index + 1] ?? '';
    if (name === 'host') continue;
    if (name !== 'cookie') fields.push(name, value);
    else if (cookieAt === -1) cookieAt = fields.push(name, value) - 1;
    else fields[cookieAt] = `${fields[cookieAt] ?? ''}; ${value}`;
  }
  return fields;
}
