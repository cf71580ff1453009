import type { SharedBytes } from '../byte-stream.ts';
import type { HeaderList } from '../h2/headers.ts';
import { FIELD_VALUE } from './characters.ts';
import { Http1Violation } from './errors.ts';
import { CHUNKED, UNTIL_CLOSE } from './framing.ts';
import { HeadReader } from './head-reader.ts';
import { allowedTrailers } from './hop-by-hop.ts';
import { CHUNK_SIZE_DIGITS, DEFAULT_LIMITS, type Http1Limits } from './limits.ts';

/** Who takes a body's bytes, in place and without its framing; as ByteSink.onData(). */
export interface BodySink {
  onBody(bytes: SharedBytes, offset: number, length: number): number;
}

const NO_TRAILERS: HeaderList = [];
const CR = 0x0d;
const LF = 0x0a;
const SEMICOLON = 0x3b;

/**
 * What the next byte is.
 * ```
 *   SIZE --> EXTENSION --> SIZE_LF --> DATA --> DATA_CR --> DATA_LF --> SIZE
 *                             `--> TRAILERS --> DONE           (size 0)
 * ```
 * A body with a length is DATA alone.
 */
const SIZE = 0;
const EXTENSION = 1;
const SIZE_LF = 2;
const DATA = 3;
const DATA_CR = 4;
const DATA_LF = 5;
const TRAILERS = 6;
const DONE = 7;

/**
 * Takes the framing off one body after another. Nothing is held: what the sink does not take is not taken here either.
 * Chunk extensions are dropped, and so are trailers that could change what was decided by the head.
 */
export class BodyReader {
  readonly #limits: Http1Limits;
  #state = DONE;
  #chunked = false;
  /** Of the body or the chunk. */
  #left = 0;
  #digits = 0;
  #extensionBytes = 0;
  #trailerReader: HeadReader | undefined;
  /** Of the body that is done; empty for most. */
  trailers: HeaderList = NO_TRAILERS;

  constructor(limits: Http1Limits = DEFAULT_LIMITS) {
    this.#limits = limits;
  }

  /** The body is whole. One that lasts until the connection ends never is. */
  get done(): boolean {
    return this.#state === DONE;
  }

  /** The body lasts until the connection ends. */
  get untilClose(): boolean {
    return this.#left === Number.POSITIVE_INFINITY;
  }

  /** Begins a body. @param body as in a head: its length, CHUNKED or UNTIL_CLOSE. */
  begin(body: number): void {
    this.#chunked = body === CHUNKED;
    this.#left = body === UNTIL_CLOSE ? Number.POSITIVE_INFINITY : Math.max(body, 0);
    this.#digits = 0;
    this.#extensionBytes = 0;
    this.#trailerReader = undefined;
    this.trailers = NO_TRAILERS;
    this.#state = this.#chunked ? SIZE : this.#left === 0 ? DONE : DATA;
  }

  /**
   * Reads on, up to the body's end or to where the sink takes no more.
   *
   * @returns how many bytes were taken, with framing.
   * @throws {Http1Violation} when the framing is broken; what was handed to the sink stays there.
   */
  read(bytes: SharedBytes, from: number, to: number, sink: BodySink): number {
    const { buffer } = bytes;
    let at = from;
    while (at < to && this.#state !== DONE) {
      if (this.#state === DATA) {
        const length = Math.min(to - at, this.#left);
        const taken = sink.onBody(bytes, at, length);
        at += taken;
        this.#left -= taken;
        if (this.#left === 0) this.#state = this.#chunked ? DATA_CR : DONE;
        if (taken < length) break;
      } else if (this.#state === TRAILERS) at += this.#readTrailers(bytes, at, to);
      else this.#readFraming(buffer[at++] ?? 0);
    }
    return at - from;
  }

  #readFraming(byte: number): void {
    switch (this.#state) {
      case SIZE:
        this.#readSize(byte);
        break;
      case EXTENSION:
        if (byte === CR) this.#state = SIZE_LF;
        else if (FIELD_VALUE[byte] !== 1) throw new Http1Violation('chunk-extension');
        else if (++this.#extensionBytes > this.#limits.chunkExtensionBytes)
          throw new Http1Violation('chunk-extensions-too-long');
        break;
      case SIZE_LF:
        if (byte !== LF) throw new Http1Violation('chunk-size');
        this.#digits = 0;
        this.#state = this.#left === 0 ? TRAILERS : DATA;
        break;
      case DATA_CR:
        if (byte !== CR) throw new Http1Violation('chunk-end');
        this.#state = DATA_LF;
        break;
      default: // DATA_LF
        if (byte !== LF) throw new Http1Violation('chunk-end');
        this.#state = SIZE;
    }
  }

  #readSize(byte: number): void {
    const digit = hexDigit(byte);
    if (digit >= 0) {
      if (++this.#digits > CHUNK_SIZE_DIGITS) throw new Http1Violation('chunk-size-too-large');
      this.#left = this.#left * 16 + digit;
      return;
    }
    if (this.#digits === 0) throw new Http1Violation('chunk-size');
    if (byte === CR) this.#state = SIZE_LF;
    else if (byte === SEMICOLON) this.#state = EXTENSION;
    else throw new Http1Violation('chunk-size');
  }

  #readTrailers(bytes: SharedBytes, from: number, to: number): number {
    const reader = (this.#trailerReader ??= new HeadReader(this.#limits));
    const taken = reader.read(bytes, from, to);
    if (reader.done) {
      this.trailers = allowedTrailers(reader.fields);
      this.#state = DONE;
    }
    return taken;
  }
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
