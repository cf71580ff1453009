import { MeshError } from '../../base/errors.ts';
import type { SharedBytes } from '../byte-stream.ts';
import type { HeaderList } from '../h2/headers.ts';
import { allocateShared } from '../native/memory.ts';
import {
  DIGIT,
  endOfValue,
  FIELD_VALUE,
  isAllOf,
  METHOD,
  REQUEST_LINE,
  TOKEN,
} from './characters.ts';
import { COMMON_NAMES } from './field-names.ts';
import { CHUNKED, NO_BODY, UNTIL_CLOSE } from './framing.ts';
import { allowedTrailers } from './hop-by-hop.ts';
import { LENGTH_DIGITS } from './limits.ts';

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

const CR = 0x0d;
const LF = 0x0a;
/** Lines are composed with their end before them: of the parts of a text, which all cost, that makes a third less. */
const HEAD_END = '\r\n\r\n';
/** V8 tells at once that a text of bytes alone has none. */
const NO_BYTE = /[^\0-\xff]/;
const NO_CONNECTION_FIELDS: ConnectionFields = {};
const statusLines: string[] = [];

/** A message's head as it is sent, in latin1, and the framing of the body that has to follow it. */
export type OutgoingHead = Readonly<{ text: string; body: number }>;

/**
 * A head that was put together. What its values hold was not looked at: they are looked at when encodeHead() has made bytes of
 * them, which takes a fraction of the time, and nothing else may be made of it.
 */
export type ComposedHead = OutgoingHead & Readonly<{ lines: number }>;

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
  connection: ConnectionFields = NO_CONNECTION_FIELDS,
): OutgoingHead {
  return checkHead(composeRequestHead(method, target, fields, endStream, connection, WHOLE));
}

/** Where in a list the fields begin, and the host that is not among them. */
export type FieldsPlace = Readonly<{ from: number; host?: string }>;
export const WHOLE: FieldsPlace = { from: 0 };

/** As formatRequestHead(), of which encodeHead() does the rest. */
export function composeRequestHead(
  method: string,
  target: string,
  fields: HeaderList,
  endStream: boolean,
  connection: ConnectionFields,
  { from, host }: FieldsPlace,
): ComposedHead {
  if (method === '' || !isAllOf(METHOD, method)) throw headError('the method');
  if (target === '' || target.includes(' ') || !isAllOf(REQUEST_LINE, target))
    throw headError('the target');
  let start = `${method} ${target} HTTP/1.1`;
  let lines = 2 + (fields.length - from) / 2;
  if (host !== undefined) {
    start += `\r\nhost: ${host}`;
    lines++;
  }
  const lengths = composeFields(start, fields, from);
  const hosts = lengths.hosts + (host === undefined ? 0 : 1);
  if (hosts !== 1) throw headError(`${hosts} host fields`);
  const tunnel = method === 'CONNECT' || connection.upgrade !== undefined;
  if (tunnel && !endStream) throw headError('a body before a tunnel');
  if (method === 'CONNECT' && lengths.contentLength !== -1) throw headError('content-length');
  const body = endStream ? NO_BODY : lengths.contentLength === -1 ? CHUNKED : lengths.contentLength;
  if (endStream && lengths.contentLength > 0) throw headError('content-length without a body');
  let { text } = lengths;
  if (body === CHUNKED) {
    text += '\r\ntransfer-encoding: chunked';
    lines++;
  } else if (endStream && lengths.contentLength === -1 && expectsLength(method)) {
    text += '\r\ncontent-length: 0';
    lines++;
  }
  return composeEnd(text, lines, body, connection, lengths.te, connection.close === true);
}

/** Whether servers expect a length, even if it is 0. RFC 9110 section 8.6. */
function expectsLength(method: string): boolean {
  return method === 'POST' || method === 'PUT' || method === 'PATCH';
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
  connection: ConnectionFields = NO_CONNECTION_FIELDS,
): OutgoingHead {
  return checkHead(composeResponseHead(request, status, fields, 0, endStream, connection));
}

/**
 * As formatResponseHead(), of which encodeHead() does the rest.
 *
 * @param from where in `fields` they begin.
 */
export function composeResponseHead(
  request: AnsweredRequest,
  status: number,
  fields: HeaderList,
  from: number,
  endStream: boolean,
  connection: ConnectionFields,
): ComposedHead {
  if (!Number.isInteger(status) || status < 100 || status > 599) throw headError('the status');
  // 426 names the protocol that it wants. RFC 9110 section 15.5.22.
  if (status !== 426 && (status === 101) !== (connection.upgrade !== undefined))
    throw headError('101 without a protocol, or the reverse');
  const composed = composeFields(statusLine(status), fields, from);
  const { contentLength } = composed;
  const tunnel = status === 101 || (request.method === 'CONNECT' && status >= 200 && status < 300);
  const bodiless = tunnel || status < 200 || status === 204;
  if (bodiless && contentLength !== -1) throw headError('content-length where no body can be');
  const described = request.method === 'HEAD' || status === 304;
  let { text } = composed;
  let lines = 2 + (fields.length - from) / 2;
  let body = NO_BODY;
  let close = connection.close === true;
  if (!bodiless && !described) {
    if (contentLength !== -1) {
      if (endStream && contentLength > 0) throw headError('content-length without a body');
      body = contentLength;
    } else if (endStream) {
      text += '\r\ncontent-length: 0';
      lines++;
    } else if (request.minor === 1) {
      body = CHUNKED;
      text += '\r\ntransfer-encoding: chunked';
      lines++;
    } else {
      body = UNTIL_CLOSE;
      close = true;
    }
  }
  return composeEnd(text, lines, body, connection, false, close);
}

/**
 * Writes a head into `bytes` from `at` on, where there is room for all of its text.
 *
 * @returns where it ends.
 * @throws {MeshError} ERR_HTTP1_HEAD when a value would be read as something else: another line, another head, or
 *   characters that are no bytes. What was written is then not to be sent.
 */
export function encodeHead({ text, lines }: ComposedHead, bytes: SharedBytes, at: number): number {
  // Behind the composing the only CR and LF are those at the ends of lines; one more of them stood in a value. What is no
  // byte has to be looked for before, since writing cuts it down to one.
  if (NO_BYTE.test(text)) throw headError('a character that is no byte');
  const { buffer } = bytes;
  const end = at + buffer.write(text, at, 'latin1');
  let ends = 0;
  for (let index = endOfValue(bytes, at, end); index < end; index = endOfValue(bytes, index, end)) {
    if (buffer[index] !== CR || buffer[index + 1] !== LF) throw headError('the value of a field');
    index += 2;
    ends++;
  }
  if (ends !== lines || end - at !== text.length) throw headError('the value of a field');
  return end;
}

/** For heads that are not sent from here. */
function checkHead(head: ComposedHead): OutgoingHead {
  encodeHead(head, allocateShared(head.text.length), 0);
  return { text: head.text, body: head.body };
}

/** The end of a CHUNKED body, with those trailers that may be sent. @throws {MeshError} ERR_HTTP1_HEAD. */
export function formatLastChunk(trailers: HeaderList): string {
  return `0\r\n${formatFields(allowedTrailers(trailers))}\r\n`;
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

type ComposedFields = Readonly<{ text: string; contentLength: number; hosts: number; te: boolean }>;

/** The first line, and those of fields whose names are right, and whose values were not looked at. */
function composeFields(firstLine: string, fields: HeaderList, from: number): ComposedFields {
  let text = firstLine;
  let contentLength = -1;
  let hosts = 0;
  let te = false;
  for (let index = from; index < fields.length; index += 2) {
    const name = fields[index] ?? '';
    const value = fields[index + 1] ?? '';
    text += lineBeginnings.get(name) ?? beginLine(name);
    text += value;
    if (name === 'host') hosts++;
    else if (name === 'te') {
      if (value !== 'trailers') throw headError('the value of te');
      te = true;
    } else if (name === 'content-length') {
      if (contentLength !== -1) throw headError(name);
      contentLength = parseLength(value);
    }
  }
  return { text, contentLength, hosts, te };
}

/**
 * The end of the line before, and what a line begins with, of names that were found to be right; so many at the most, whoever
 * sends them.
 */
const lineBeginnings = new Map<string, string>();
const MAX_LINE_BEGINNINGS = 1024;
for (const name of COMMON_NAMES) if (!OWN_FIELDS.has(name)) beginLine(name);

function beginLine(name: string): string {
  if (name === '' || !isAllOf(TOKEN, name)) throw headError('the name of a field');
  if (name !== name.toLowerCase() || OWN_FIELDS.has(name)) throw headError(`the field ${name}`);
  const beginning = `\r\n${name}: `;
  if (lineBeginnings.size < MAX_LINE_BEGINNINGS) lineBeginnings.set(name, beginning);
  return beginning;
}

function parseLength(value: string): number {
  if (value.length === 0 || value.length > LENGTH_DIGITS || !isAllOf(DIGIT, value))
    throw headError('content-length');
  return Number(value);
}

function statusLine(status: number): string {
  return (statusLines[status] ??= `HTTP/1.1 ${status} ${REASONS[status] ?? ''}`);
}

function composeEnd(
  text: string,
  lines: number,
  body: number,
  { upgrade }: ConnectionFields,
  te: boolean,
  close: boolean,
): ComposedHead {
  if (!te && !close && upgrade === undefined) return { text: text + HEAD_END, lines, body };
  let options = te ? 'te' : '';
  if (close) options += options === '' ? 'close' : ', close';
  if (upgrade !== undefined) options += options === '' ? 'upgrade' : ', upgrade';
  let end = `\r\nconnection: ${options}`;
  if (upgrade !== undefined) end += `\r\nupgrade: ${upgrade}`;
  return { text: text + end + HEAD_END, lines: lines + (upgrade === undefined ? 1 : 2), body };
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
