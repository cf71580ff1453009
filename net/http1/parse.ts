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
  reason: string;
  minor: 0 | 1;
  fields: HeaderList;
  /** The body's length in bytes, CHUNKED or UNTIL_CLOSE. */
  body: number;
  persistent: boolean;
  /** The protocol of a 101, in lower case; '' otherwise. */
  upgrade: string;
}>;

/** Method, the two spaces, and the version: what a request line holds beside the target. */
const LINE_BYTES_BESIDE_TARGET = METHOD_BYTES + 2 + 'HTTP/1.1'.length;

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
    this.head = this.#makeHead(this.#reader.startLine, this.#reader.fields);
    this.#reader.forget();
    return taken;
  }

  /** Lets go of the head, which would otherwise be kept until the next one. */
  forget(): void {
    this.head = undefined;
  }

  #makeHead(line: string, fields: HeaderList): RequestHead {
    const methodEnd = line.indexOf(' ');
    const targetEnd = line.indexOf(' ', methodEnd + 1);
    if (methodEnd <= 0 || targetEnd <= methodEnd + 1) throw new Http1Violation('request-line');
    if (methodEnd > METHOD_BYTES) throw new Http1Violation('method-too-long');
    const method = line.slice(0, methodEnd);
    if (!isAllOf(METHOD, method)) throw new Http1Violation('method');
    const minor = parseVersion(line, targetEnd + 1, line.length);
    if (targetEnd - methodEnd - 1 > this.#limits.targetBytes)
      throw new Http1Violation('target-too-long');
    // It sends back what was asked, with secrets that a script in a browser may not see.
    if (method === 'TRACE') throw new Http1Violation('trace');
    const target = parseTarget(method, line.slice(methodEnd + 1, targetEnd), this.#scheme);
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
    if (host === this.#host && target.form !== 'authority') return this.#hostAuthority;
    const authority = canonicalAuthority(host, target.form === 'authority' ? '' : this.#scheme);
    if (authority === '') throw new Http1Violation('host');
    if (target.form === 'authority') return authority;
    // Copies: parts of a text would keep the whole head.
    this.#host = copyOf(host);
    this.#hostAuthority = copyOf(authority);
    return authority;
  }
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
    this.head = makeResponse(this.#reader.startLine, this.#reader.fields, method, upgrade);
    this.#reader.forget();
    return taken;
  }

  /** As RequestParser.forget(). */
  forget(): void {
    this.head = undefined;
  }
}

const VERSION_BYTES = 'HTTP/1.1'.length;
const REASON_AT = 'HTTP/1.1 200 '.length;
const SPACE = 0x20;

/**
 * The status of `HTTP/1.1 200 OK`, or 0: the reason may be empty, the space before it may not be missing. What is before the
 * first space, parseVersion() looks at. RFC 9112 section 4.
 */
function readStatus(line: string): number {
  if (!line.startsWith('HTTP/1.1 ') && !/^HTTP\/\d\.\d /.test(line)) return 0;
  if (line.charCodeAt(REASON_AT - 1) !== SPACE) return 0;
  let status = 0;
  for (let index = VERSION_BYTES + 1; index < REASON_AT - 1; index++) {
    const digit = line.charCodeAt(index) - 0x30;
    if (!(digit >= 0 && digit <= 9)) return 0; // said so that the NaN of a short line does not pass
    status = status * 10 + digit;
  }
  return status >= 100 && status <= 599 ? status : 0;
}

function makeResponse(
  line: string,
  fields: HeaderList,
  method: string,
  upgradeAsked: boolean,
): ResponseHead {
  const status = readStatus(line);
  if (status === 0) throw new Http1Violation('status-line');
  const minor = parseVersion(line, 0, VERSION_BYTES);
  const options = connectionOptions(fields);
  const upgrade = status === 101 ? readUpgrade(fields, options) : '';
  if (status === 101 && (!upgradeAsked || upgrade === ''))
    throw new Http1Violation('upgrade-unasked');
  const body = responseBody(method, status, minor, fields);
  const persistent = minor === 1 && body !== UNTIL_CLOSE && !options.includes('close');
  const reason = line.slice(REASON_AT);
  return { status, reason, minor, fields, body, persistent, upgrade };
}

/** @throws {Http1Violation} for another version than 1.0 and 1.1 (attack S10). */
function parseVersion(line: string, from: number, to: number): 0 | 1 {
  if (to - from === VERSION_BYTES && line.startsWith('HTTP/1.1', from)) return 1;
  const version = line.slice(from, to);
  if (version === 'HTTP/1.0') return 0;
  const sound = /^HTTP\/\d\.\d$/.test(version);
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
