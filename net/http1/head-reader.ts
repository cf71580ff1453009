import type { SharedBytes } from '../byte-stream.ts';
import { allocateShared } from '../native/memory.ts';
import { endOfValue, PLAIN_NAME, TOKEN } from './characters.ts';
import { Http1Violation } from './errors.ts';
import { commonName } from './field-names.ts';
import { type Http1Limits, MAX_FIELDS } from './limits.ts';

const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;
const TAB = 0x09;
const COLON = 0x3a;
const UNDERSCORE = 0x5f;

/** What the next byte is. A line ends with CR LF and nothing else. */
const BEGIN = 0;
const EMPTY_LINE_LF = 1;
const START_LINE = 2;
const START_LINE_LF = 3;
const FIELD = 4;
const NAME = 5;
const SPACES = 6;
const VALUE = 7;
const VALUE_LF = 8;
const LAST_LF = 9;
const DONE = 10;

/** Four offsets a field, from the head's first byte: of the name and of the value, each with its end. */
const OFFSETS = 4;
/** Of the head that is being read, until its bytes run out; then its reader keeps a copy. */
const scratch = new Int32Array(OFFSETS * MAX_FIELDS);

const NO_FIELDS: readonly string[] = [];
const NO_BYTES = allocateShared(0);

/** Held parts of heads begin with so much. */
const HELD_BYTES = 1 << 10;

/** The rules of a start line, which differ between requests and responses. */
export type StartLineRules = Readonly<{
  characters: Uint8Array;
  maxBytes: number;
  /** What an empty one is. */
  empty: 'request-line' | 'status-line';
  /** One empty line before is ignored. RFC 9112 section 2.2. */
  mayFollowEmptyLine: boolean;
}>;

/**
 * Finds the lines and fields of a head, or the fields alone of trailers, however its bytes are cut. Each byte is looked at once. A head that comes in one
 * piece is read where it lies; of one that does not, the part that came is held, up to the limit.
 */
export class HeadReader {
  readonly #limits: Http1Limits;
  readonly #startLine: StartLineRules | undefined;
  readonly #maxBytes: number;
  #state: number;
  /** Bytes of the head that were looked at. */
  #at = 0;
  #lineStart = 0;
  #lineEnd = 0;
  #nameStart = 0;
  #nameEnd = 0;
  #valueStart = 0;
  #valueEnd = 0;
  #fields = 0;
  #held: SharedBytes | undefined;
  #heldBytes = 0;
  #heldOffsets: Int32Array | undefined;
  /** Of a head that is done, which begins at `#textFrom`. */
  #text = '';
  #textFrom = 0;

  /** @param startLine absent where none is: in trailers. */
  constructor(limits: Http1Limits, startLine?: StartLineRules) {
    this.#limits = limits;
    this.#startLine = startLine;
    this.#maxBytes = startLine === undefined ? limits.trailerBytes : limits.headBytes;
    this.#state = startLine === undefined ? FIELD : BEGIN;
  }

  /** Some of a head has come. */
  get begun(): boolean {
    return this.#at > 0;
  }

  /** The head is whole: what follows is of it until forget() or the next read(), and `bytes` until whoever owns them goes on. */
  get done(): boolean {
    return this.#state === DONE;
  }

  /** Where the head lies, and in it the start line, without its end. */
  bytes: SharedBytes = NO_BYTES;
  lineFrom = 0;
  lineTo = 0;
  fields: readonly string[] = NO_FIELDS;

  /** What lies there, in latin1. */
  textOf(from: number, to: number): string {
    return this.#text.slice(from - this.#textFrom, to - this.#textFrom);
  }

  /** Lets go of a head that is done, so that its text lives no longer than what was made of it. */
  forget(): void {
    this.#begin();
    this.bytes = NO_BYTES;
    this.#text = '';
    this.fields = NO_FIELDS;
  }

  /**
   * Reads on, up to the end of the head, which is the first byte of `from .. to` that is not taken; after one that is
   * done begins the next.
   *
   * @param from after earlier calls without an end the byte that follows theirs.
   * @returns how many bytes were taken; all of them while the head is not done.
   * @throws {Http1Violation} at the first byte that cannot be right.
   */
  read(bytes: SharedBytes, from: number, to: number): number {
    if (this.#state === DONE) this.#begin();
    const before = this.#at;
    if (before === 0) {
      this.#scan(bytes, from, to);
      if (this.#state === DONE) this.#build(bytes, from);
      else this.#hold(bytes, from, from + this.#at);
    } else {
      // One byte beyond the limit is enough to find that it is passed.
      const count = Math.min(to - from, this.#maxBytes + 1 - before);
      const held = this.#hold(bytes, from, from + count);
      if (this.#heldOffsets !== undefined) scratch.set(this.#heldOffsets);
      this.#scan(held, 0, before + count);
      if (this.#state === DONE) this.#build(held, 0);
    }
    // Other heads are read before this one goes on.
    if (this.#state !== DONE) this.#heldOffsets = scratch.slice(0, this.#fields * OFFSETS);
    return this.#at - before;
  }

  #begin(): void {
    this.#state = this.#startLine === undefined ? FIELD : BEGIN;
    this.#at = 0;
    this.#lineStart = 0;
    this.#lineEnd = 0;
    this.#fields = 0;
  }

  /** Keeps `from .. to` behind what is held. */
  #hold({ buffer }: SharedBytes, from: number, to: number): SharedBytes {
    const needed = this.#heldBytes + to - from;
    let held = this.#held;
    const heldBytes = held?.buffer.length ?? 0;
    if (held === undefined || heldBytes < needed) {
      const larger = allocateShared(Math.max(HELD_BYTES, needed, 2 * heldBytes));
      held?.buffer.copy(larger.buffer, 0, 0, this.#heldBytes);
      held = larger;
    }
    buffer.copy(held.buffer, this.#heldBytes, from, to);
    this.#held = held;
    this.#heldBytes = needed;
    return held;
  }

  /** Makes the strings: one for the whole head, and parts of it. */
  #build(bytes: SharedBytes, start: number): void {
    const { buffer } = bytes;
    const text = buffer.toString('latin1', start, start + this.#at);
    this.bytes = bytes;
    this.lineFrom = start + this.#lineStart;
    this.lineTo = start + this.#lineEnd;
    this.#text = text;
    this.#textFrom = start;
    const fields = new Array<string>(2 * this.#fields);
    let at = 0;
    for (let index = 0; index < this.#fields * OFFSETS; index += OFFSETS) {
      const from = scratch[index] ?? 0;
      const to = scratch[index + 1] ?? 0;
      fields[at++] =
        commonName(buffer, start + from, start + to) ?? text.slice(from, to).toLowerCase();
      fields[at++] = text.slice(scratch[index + 2], scratch[index + 3]);
    }
    this.fields = fields;
    this.#held = undefined;
    this.#heldBytes = 0;
    this.#heldOffsets = undefined;
  }

  /** @param start where the head's first byte lies; scanning goes on at `start + #at`. */
  #scan(shared: SharedBytes, start: number, end: number): void {
    const bytes = shared.buffer;
    const startLine = this.#startLine;
    const stop = Math.min(end, start + this.#maxBytes);
    let at = start + this.#at;
    let state = this.#state;
    while (at < stop && state !== DONE) {
      const byte = bytes[at] ?? 0;
      switch (state) {
        case BEGIN:
          if (byte === CR && startLine?.mayFollowEmptyLine === true) {
            state = EMPTY_LINE_LF;
            at++;
          } else state = START_LINE;
          break;
        case EMPTY_LINE_LF:
          if (byte !== LF) throw new Http1Violation('bare-cr-or-lf');
          at++;
          this.#lineStart = at - start;
          state = START_LINE;
          break;
        case START_LINE: {
          const table = startLine?.characters ?? TOKEN;
          while (at < stop && table[bytes[at] ?? 0] === 1) at++;
          const length = at - start - this.#lineStart;
          if (length > (startLine?.maxBytes ?? 0)) throw new Http1Violation('target-too-long');
          if (at === stop) break;
          if (bytes[at] === LF) throw new Http1Violation('bare-cr-or-lf');
          if (bytes[at] !== CR) throw new Http1Violation('character-in-start-line');
          if (length === 0) throw new Http1Violation(startLine?.empty ?? 'request-line');
          this.#lineEnd = at - start;
          at++;
          state = START_LINE_LF;
          break;
        }
        case START_LINE_LF:
          if (byte !== LF) throw new Http1Violation('bare-cr-or-lf');
          at++;
          state = FIELD;
          break;
        case FIELD:
          if (byte === CR) {
            at++;
            state = LAST_LF;
            break;
          }
          if (byte === SPACE || byte === TAB) throw new Http1Violation('folded-line');
          if (this.#fields >= this.#limits.fields) throw new Http1Violation('too-many-fields');
          this.#nameStart = at - start;
          state = NAME;
          break;
        case NAME:
          at = this.#scanName(bytes, start, at, stop);
          if (bytes[at] === COLON && at < stop) {
            this.#nameEnd = at - start;
            at++;
            state = SPACES;
          }
          break;
        case SPACES:
          if (byte === SPACE || byte === TAB) at++;
          else {
            this.#valueStart = at - start;
            state = VALUE;
          }
          break;
        case VALUE:
          at = endOfValue(shared, at, stop);
          if (at === stop) break;
          if (bytes[at] === LF) throw new Http1Violation('bare-cr-or-lf');
          if (bytes[at] !== CR) throw new Http1Violation('field-value');
          this.#valueEnd = at - start;
          at++;
          state = VALUE_LF;
          break;
        case VALUE_LF:
          if (byte !== LF) throw new Http1Violation('bare-cr-or-lf');
          at++;
          this.#addField(bytes, start);
          state = FIELD;
          break;
        default: // LAST_LF
          if (byte !== LF) throw new Http1Violation('bare-cr-or-lf');
          at++;
          state = DONE;
      }
    }
    if (state !== DONE && end > stop)
      throw new Http1Violation(startLine === undefined ? 'trailers-too-long' : 'head-too-long');
    this.#at = at - start;
    this.#state = state;
  }

  /** The end of the name's bytes that are there. */
  #scanName(bytes: Buffer, start: number, from: number, stop: number): number {
    const { allowUnderscores, fieldNameBytes } = this.#limits;
    const table = allowUnderscores ? TOKEN : PLAIN_NAME;
    const limit = start + this.#nameStart + fieldNameBytes;
    const end = Math.min(stop, limit);
    let at = from;
    while (at < end && table[bytes[at] ?? 0] === 1) at++;
    if (at === stop) return at;
    const byte = bytes[at] ?? 0;
    if (byte === UNDERSCORE && !allowUnderscores) throw new Http1Violation('underscore');
    if (at === limit && TOKEN[byte] === 1) throw new Http1Violation('field-name-too-long');
    if (byte !== COLON || at === start + this.#nameStart) throw new Http1Violation('field-name');
    return at;
  }

  #addField(bytes: Buffer, start: number): void {
    let end = this.#valueEnd;
    while (end > this.#valueStart) {
      const byte = bytes[start + end - 1];
      if (byte !== SPACE && byte !== TAB) break;
      end--;
    }
    const index = this.#fields++ * OFFSETS;
    scratch[index] = this.#nameStart;
    scratch[index + 1] = this.#nameEnd;
    scratch[index + 2] = this.#valueStart;
    scratch[index + 3] = end;
  }
}
