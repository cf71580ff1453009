import { MeshError } from '../../base/errors.ts';
import type { HeaderList } from '../h2/headers.ts';
import { FIELD_VALUE, isAllOf, METHOD, REQUEST_LINE, TOKEN } from './characters.ts';
import { CHUNKED, NO_BODY, UNTIL_CLOSE } from './framing.ts';
import { allowedTrailers } from './hop-by-hop.ts';

/** What a head says about its connection, in place of the fields that callers may not write. */
export type ConnectionFields = Readonly<{
  /** The connection ends with this message. */
  close?: boolean;
  /** The protocol that is asked for, or that 101 grants. */
  upgrade?: string;
}>;

/** Fields that this file alone writes: what they say must be what is done. */
const OWN_FIELDS: ReadonlySet<string> = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'],
]);

/** Methods that servers expect a length of, even if it is 0. RFC 9110 section 8.6. */
const METHODS_WITH_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);

/** A message's head as it is sent, in latin1, and the framing of the body that has to follow it. */
export type OutgoingHead = Readonly<{ text: string; body: number }>;

/**
 * Writes a request's head. Its body is NO_BODY with `endStream`, as long as `content-length` says, or else CHUNKED.
 *
 * @param fields end-to-end fields with names in lower case, and `host`; `te: trailers` is announced as it has to be.
 * @throws {MeshError} ERR_HTTP1_HEAD for anything that would be read as something else than is given, or a request that
 *   cannot be framed.
 */
export function formatRequestHead(
  method: string,
  target: string,
  fields: HeaderList,
  endStream: boolean,
  connection: ConnectionFields = {},
): OutgoingHead {
  if (method === '' || !isAllOf(METHOD, method)) throw headError('the method');
  if (target === '' || target.includes(' ') || !isAllOf(REQUEST_LINE, target))
    throw headError('the target');
  const lengths = readOutgoing(fields);
  if (lengths.hosts !== 1) throw headError(`${lengths.hosts} host fields`);
  const tunnel = method === 'CONNECT' || connection.upgrade !== undefined;
  if (tunnel && !endStream) throw headError('a body before a tunnel');
  if (method === 'CONNECT' && lengths.contentLength !== -1) throw headError('content-length');
  const body = endStream ? NO_BODY : lengths.contentLength === -1 ? CHUNKED : lengths.contentLength;
  if (endStream && lengths.contentLength > 0) throw headError('content-length without a body');
  let text = `${method} ${target} HTTP/1.1\r\n${formatFields(fields)}`;
  if (body === CHUNKED) text += 'transfer-encoding: chunked\r\n';
  else if (endStream && lengths.contentLength === -1 && METHODS_WITH_BODY.has(method))
    text += 'content-length: 0\r\n';
  return { text: `${text}${formatConnection(connection, lengths.te)}\r\n`, body };
}

/** What a response answers; its framing depends on it. */
export type AnsweredRequest = Readonly<{ method: string; minor: 0 | 1 }>;

/**
 * Writes a response's head. Its body is NO_BODY where none can be or `endStream` says so, as long as `content-length`
 * says, or else CHUNKED, for HTTP/1.0 UNTIL_CLOSE. A response without a body field of its own gets `content-length: 0`.
 *
 * @param fields end-to-end fields with names in lower case.
 * @throws {MeshError} ERR_HTTP1_HEAD as formatRequestHead().
 */
export function formatResponseHead(
  request: AnsweredRequest,
  status: number,
  fields: HeaderList,
  endStream: boolean,
  connection: ConnectionFields = {},
): OutgoingHead {
  if (!Number.isInteger(status) || status < 100 || status > 599) throw headError('the status');
  // 426 names the protocol that it wants. RFC 9110 section 15.5.22.
  if (status !== 426 && (status === 101) !== (connection.upgrade !== undefined))
    throw headError('101 without a protocol, or the reverse');
  const { contentLength } = readOutgoing(fields);
  const tunnel = status === 101 || (request.method === 'CONNECT' && status >= 200 && status < 300);
  const bodiless = tunnel || status < 200 || status === 204;
  if (bodiless && contentLength !== -1) throw headError('content-length where no body can be');
  const described = request.method === 'HEAD' || status === 304;
  let body = NO_BODY;
  let framing = '';
  let close = connection.close === true;
  if (!bodiless && !described) {
    if (contentLength !== -1) {
      if (endStream && contentLength > 0) throw headError('content-length without a body');
      body = contentLength;
    } else if (endStream) framing = 'content-length: 0\r\n';
    else if (request.minor === 1) {
      body = CHUNKED;
      framing = 'transfer-encoding: chunked\r\n';
    } else {
      body = UNTIL_CLOSE;
      close = true;
    }
  }
  const start = `HTTP/1.1 ${status} ${REASONS[status] ?? ''}\r\n`;
  const end = formatConnection({ ...connection, close }, false);
  return { text: `${start}${formatFields(fields)}${framing}${end}\r\n`, body };
}

/** The end of a CHUNKED body, with those trailers that may be sent. @throws {MeshError} ERR_HTTP1_HEAD. */
export function formatLastChunk(trailers: HeaderList): string {
  return `0\r\n${formatFields(allowedTrailers(trailers))}\r\n`;
}

/** What goes before a chunk's bytes; CR LF goes behind them. `bytes` is more than 0: 0 would end the body. */
export function formatChunkSize(bytes: number): string {
  if (!Number.isSafeInteger(bytes) || bytes <= 0) throw headError(`a chunk of ${bytes} bytes`);
  return `${bytes.toString(16)}\r\n`;
}

function formatFields(fields: HeaderList): string {
  let text = '';
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index] ?? '';
    const value = fields[index + 1] ?? '';
    if (name === '' || !isAllOf(TOKEN, name)) throw headError('the name of a field');
    // No CR, LF or NUL, which would begin another field or message, nor a character that is no byte.
    if (!isAllOf(FIELD_VALUE, value)) throw headError(`the value of ${name}`);
    text += `${name}: ${value}\r\n`;
  }
  return text;
}

type OutgoingFields = { contentLength: number; hosts: number; te: boolean };

function readOutgoing(fields: HeaderList): OutgoingFields {
  const found: OutgoingFields = { contentLength: -1, hosts: 0, te: false };
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index] ?? '';
    const value = fields[index + 1] ?? '';
    if (name !== name.toLowerCase() || OWN_FIELDS.has(name)) throw headError(`the field ${name}`);
    if (name === 'host') found.hosts++;
    else if (name === 'te') {
      if (value !== 'trailers') throw headError('the value of te');
      found.te = true;
    } else if (name === 'content-length') {
      if (found.contentLength !== -1 || !/^\d{1,15}$/.test(value)) throw headError(name);
      found.contentLength = Number(value);
    }
  }
  return found;
}

function formatConnection({ close, upgrade }: ConnectionFields, te: boolean): string {
  let options = te ? 'te' : '';
  if (close === true) options += options === '' ? 'close' : ', close';
  if (upgrade !== undefined) options += options === '' ? 'upgrade' : ', upgrade';
  if (options === '') return '';
  if (upgrade === undefined) return `connection: ${options}\r\n`;
  return `connection: ${options}\r\n${formatFields(['upgrade', upgrade])}`;
}

/** The texts are the field's own; the values may be secret and are not told. */
export function headError(what: string): MeshError {
  return new MeshError('ERR_HTTP1_HEAD', 'local', `Cannot write the head of a message: ${what}`);
}

/** RFC 9110 section 15; what is not here is sent without a reason, which nobody may need. */
const REASONS: Readonly<Record<number, string>> = {
  100: 'Continue',
  101: 'Switching Protocols',
  103: 'Early Hints',
  200: 'OK',
  201: 'Created',
  202: 'Accepted',
  204: 'No Content',
  206: 'Partial Content',
  301: 'Moved Permanently',
  302: 'Found',
  303: 'See Other',
  304: 'Not Modified',
  307: 'Temporary Redirect',
  308: 'Permanent Redirect',
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  409: 'Conflict',
  411: 'Length Required',
  413: 'Content Too Large',
  414: 'URI Too Long',
  417: 'Expectation Failed',
  421: 'Misdirected Request',
  426: 'Upgrade Required',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
  505: 'HTTP Version Not Supported',
};
