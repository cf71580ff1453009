import type { SharedBytes } from '../byte-stream.ts';
import { findHeader, type HeaderList } from '../h2/headers.ts';
import { canonicalAuthority } from './authority.ts';
import { FIELD_VALUE, isAllOf, METHOD, REQUEST_LINE } from './characters.ts';
import { Http1Violation } from './errors.ts';
import { NO_BODY, requestBody, responseBody, UNTIL_CLOSE } from './framing.ts';
import { HeadReader } from './head-reader.ts';
import { connectionOptions } from './hop-by-hop.ts';
import { DEFAULT_LIMITS, type Http1Limits, METHOD_BYTES } from './limits.ts';
import { parseTarget, type RequestTarget } from './request-target.ts';

/** A request as its head tells it. Nothing in it contradicts anything else: such heads were refused. */
export type RequestHead = Readonly<{
  method: string;
  target: RequestTarget;
  /** The canonical authority of the target, or else of Host; '' for an HTTP/1.0 request that has neither. */
  authority: string;
  /** Of HTTP/1. */
  minor: 0 | 1;
  /** Names in lower case, values latin1, in the order in which they came, also those of this connection alone. */
  fields: HeaderList;
  /** The body's length in bytes, or CHUNKED. */
  body: number;
  /** The connection can be used for another request. */
  persistent: boolean;
  /** The client waits for 100 before it sends the body. */
  expectsContinue: boolean;
  /** The protocol, in lower case, that the client would like to go on with; '' for none. */
  upgrade: string;
}>;

/** A response as its head tells it. */
export type ResponseHead = Readonly<{
  status: number;
  minor: 0 | 1;
  fields: HeaderList;
  /** The body's length in bytes, CHUNKED or UNTIL_CLOSE. */
  body: number;
  persistent: boolean;
  /** The protocol of a 101, in lower case; '' otherwise. */
  upgrade: string;
}>;

const SPACE = 0x20;
const ZERO = 0x30;
const G = 0x47;
const E = 0x45;
const T = 0x54;
const VERSION_BYTES = 'HTTP/1.1'.length;
/** A version, four bytes at once. */
const HTTP = Buffer.from('HTTP').readInt32BE();
const VERSION_1_1 = Buffer.from('/1.1').readInt32BE();
const VERSION_1_0 = Buffer.from('/1.0').readInt32BE();
/** Method, the two spaces, and the version: what a request line holds beside the target. */
const LINE_BYTES_BESIDE_TARGET = METHOD_BYTES + 2 + VERSION_BYTES;

/** Reads the heads of requests, one after another. RFC 9112 sections 2 to 6, strictly. */
export class RequestParser {
  readonly #reader: HeadReader;
  readonly #limits: Http1Limits;
  readonly #scheme: string;
  /** The Host that was last read, which most often is the next one too, and its canonical form. */
  #host: string | undefined;
  #hostAuthority = '';
  /** The request whose head ended with the last read(). */
  head: RequestHead | undefined;

  /** @param scheme of the connection: `http` or `https`. */
  constructor(limits: Http1Limits = DEFAULT_LIMITS, scheme = 'http') {
    this.#limits = limits;
    this.#scheme = scheme;
    this.#reader = new HeadReader(limits, {
      characters: REQUEST_LINE,
      maxBytes: limits.targetBytes + LINE_BYTES_BESIDE_TARGET,
      empty: 'request-line',
      mayFollowEmptyLine: true,
    });
  }

  /** A head has begun and not ended. */
  get begun(): boolean {
    return this.#reader.begun;
  }

  /**
   * Reads on; `head` is set when that was the end of one.
   *
   * @returns how many bytes were taken, less than all only when a head has ended.
   * @throws {Http1Violation} when it can be none; nothing may be read afterwards.
   */
  read(bytes: SharedBytes, from: number, to: number): number {
    this.head = undefined;
    const taken = this.#reader.read(bytes, from, to);
    if (!this.#reader.done) return taken;
    this.head = this.#makeHead(this.#reader);
    this.#reader.forget();
    return taken;
  }

  /** Lets go of the head, which would otherwise be kept until the next one. */
  forget(): void {
    this.head = undefined;
  }

  #makeHead(reader: HeadReader): RequestHead {
    const { bytes, lineFrom, lineTo, fields } = reader;
    const methodEnd = endOfWord(bytes, lineFrom, lineTo);
    const targetEnd = endOfWord(bytes, methodEnd + 1, lineTo);
    if (methodEnd === lineFrom || targetEnd <= methodEnd + 1 || targetEnd >= lineTo)
      throw new Http1Violation('request-line');
    if (methodEnd - lineFrom > METHOD_BYTES) throw new Http1Violation('method-too-long');
    const method = readMethod(reader, methodEnd);
    const minor = readVersion(reader, targetEnd + 1, lineTo);
    if (targetEnd - methodEnd - 1 > this.#limits.targetBytes)
      throw new Http1Violation('target-too-long');
    // It sends back what was asked, with secrets that a script in a browser may not see.
    if (method === 'TRACE') throw new Http1Violation('trace');
    const target = parseTarget(method, reader.textOf(methodEnd + 1, targetEnd), this.#scheme);
    const authority = this.#readHost(fields, target, minor);
    const body = requestBody(method, minor, fields);
    const options = connectionOptions(fields);
    return {
      method,
      target,
      authority,
      minor,
      fields,
      body,
      // What an HTTP/1.0 client means by keep-alive, a proxy before it may have meant otherwise. RFC 9112 appendix C.2.2.
      persistent: minor === 1 && !options.includes('close'),
      expectsContinue: readExpectation(fields, minor) && body !== NO_BODY,
      upgrade: minor === 1 && body === NO_BODY ? readUpgrade(fields, options) : '',
    };
  }

  /** Exactly one Host, which says the same as the target (attack S8). RFC 9112 section 3.2. */
  #readHost(fields: HeaderList, target: RequestTarget, minor: 0 | 1): string {
    let host: string | undefined;
    for (let index = 0; index < fields.length; index += 2) {
      if (fields[index] !== 'host') continue;
      if (host !== undefined) throw new Http1Violation('host-repeated');
      host = fields[index + 1];
    }
    if (host === undefined) {
      if (minor === 1) throw new Http1Violation('host-missing');
      return target.authority;
    }
    const authority = this.#canonicalHost(host, target);
    if (target.authority !== '' && target.authority !== authority)
      throw new Http1Violation('host-differs');
    return authority;
  }

  #canonicalHost(host: string, target: RequestTarget): string {
    if (this.#host !== undefined && isSame(host, this.#host) && target.form !== 'authority')
      return this.#hostAuthority;
    const authority = canonicalAuthority(host, target.form === 'authority' ? '' : this.#scheme);
    if (authority === '') throw new Http1Violation('host');
    if (target.form === 'authority') return authority;
    // Copies: parts of a text would keep the whole head.
    this.#host = copyOf(host);
    this.#hostAuthority = copyOf(authority);
    return authority;
  }
}

/** The first space of `from .. to`, or `to`. */
function endOfWord({ buffer }: SharedBytes, from: number, to: number): number {
  let at = from;
  while (at < to && buffer[at] !== SPACE) at++;
  return at;
}

/** The one string for the method of most requests: a part of another string is compared with others by its characters. */
function readMethod(reader: HeadReader, end: number): string {
  const { buffer } = reader.bytes;
  const { lineFrom } = reader;
  const isGet =
    end - lineFrom === 3 &&
    buffer[lineFrom] === G &&
    buffer[lineFrom + 1] === E &&
    buffer[lineFrom + 2] === T;
  if (isGet) return 'GET';
  const method = reader.textOf(lineFrom, end);
  if (!isAllOf(METHOD, method)) throw new Http1Violation('method');
  return method;
}

/** As `===`, for which V8 leaves compiled code when a text is a part of another one. */
function isSame(text: string, other: string): boolean {
  if (text.length !== other.length) return false;
  for (let index = 0; index < text.length; index++)
    if (text.charCodeAt(index) !== other.charCodeAt(index)) return false;
  return true;
}

function copyOf(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}

/** Reads the heads of responses, one after another; each read() is told what was asked. */
export class ResponseParser {
  readonly #reader: HeadReader;
  /** The response whose head ended with the last read(). */
  head: ResponseHead | undefined;

  constructor(limits: Http1Limits = DEFAULT_LIMITS) {
    this.#reader = new HeadReader(limits, {
      characters: FIELD_VALUE,
      maxBytes: limits.targetBytes,
      empty: 'status-line',
      mayFollowEmptyLine: false,
    });
  }

  /** A head has begun and not ended. */
  get begun(): boolean {
    return this.#reader.begun;
  }

  /**
   * As RequestParser.read().
   *
   * @param method of the request that is answered.
   * @param upgrade whether that request asked for another protocol, so that 101 may be the answer.
   */
  read(bytes: SharedBytes, from: number, to: number, method: string, upgrade: boolean): number {
    this.head = undefined;
    const taken = this.#reader.read(bytes, from, to);
    if (!this.#reader.done) return taken;
    this.head = makeResponse(this.#reader, method, upgrade);
    this.#reader.forget();
    return taken;
  }

  /** As RequestParser.forget(). */
  forget(): void {
    this.head = undefined;
  }
}

/**
 * The status of `HTTP/1.1 200 OK`, or 0: the reason may be empty, the space before it may not be missing. RFC 9112 section 4.
 */
function readStatus({ bytes, lineFrom, lineTo }: HeadReader): number {
  const { buffer, view } = bytes;
  const before = lineFrom + VERSION_BYTES;
  const behind = before + ' 200'.length;
  if (behind >= lineTo || view.getInt32(lineFrom) !== HTTP) return 0;
  if (buffer[before] !== SPACE || buffer[behind] !== SPACE) return 0;
  let status = 0;
  for (let at = before + 1; at < behind; at++) {
    const digit = (buffer[at] ?? 0) - ZERO;
    if (digit < 0 || digit > 9) return 0;
    status = status * 10 + digit;
  }
  return status >= 100 && status <= 599 ? status : 0;
}

function makeResponse(reader: HeadReader, method: string, upgradeAsked: boolean): ResponseHead {
  const { fields, lineFrom } = reader;
  const status = readStatus(reader);
  if (status === 0) throw new Http1Violation('status-line');
  const minor = readVersion(reader, lineFrom, lineFrom + VERSION_BYTES);
  const options = connectionOptions(fields);
  const upgrade = status === 101 ? readUpgrade(fields, options) : '';
  if (status === 101 && (!upgradeAsked || upgrade === ''))
    throw new Http1Violation('upgrade-unasked');
  const body = responseBody(method, status, minor, fields);
  const persistent = minor === 1 && body !== UNTIL_CLOSE && !options.includes('close');
  return { status, minor, fields, body, persistent, upgrade };
}

/** @throws {Http1Violation} for another version than 1.0 and 1.1 (attack S10). */
function readVersion(reader: HeadReader, from: number, to: number): 0 | 1 {
  const { view } = reader.bytes;
  const isHttp1 = to - from === VERSION_BYTES && view.getInt32(from) === HTTP;
  const version = isHttp1 ? view.getInt32(from + 4) : 0;
  if (version === VERSION_1_1) return 1;
  if (version === VERSION_1_0) return 0;
  const sound = /^HTTP\/\d\.\d$/.test(reader.textOf(from, to));
  throw new Http1Violation(sound ? 'version-not-supported' : 'version');
}

/** RFC 9110 section 10.1.1; the only expectation that there is. */
function readExpectation(fields: HeaderList, minor: 0 | 1): boolean {
  let expects = false;
  for (let index = 0; index < fields.length; index += 2) {
    if (fields[index] !== 'expect') continue;
    if (fields[index + 1]?.toLowerCase() !== '100-continue')
      throw new Http1Violation('expectation');
    expects = true;
  }
  return expects && minor === 1;
}

/** `h2c` is no protocol that one may ask for: what follows would pass by whatever reads HTTP/1.1 (attack H22). */
function readUpgrade(fields: HeaderList, options: readonly string[]): string {
  if (!options.includes('upgrade')) return '';
  const protocol = findHeader(fields, 'upgrade')?.toLowerCase() ?? '';
  return protocol.includes('h2c') ? '' : protocol;
}
