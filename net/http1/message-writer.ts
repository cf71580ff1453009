import { HEADROOM, type SharedBytes } from '../byte-stream.ts';
import type { HeaderList } from '../h2/headers.ts';
import type { Outbox } from '../outbox.ts';
import { flushAtTurnEnd, type TurnTask } from '../reactor.ts';
import { CHUNKED, UNTIL_CLOSE } from './framing.ts';
import { JOINED_BODY_BYTES, JOINED_WRITE_BYTES } from './limits.ts';
import { type ComposedHead, encodeHead, formatLastChunk } from './serialize.ts';

const CR = 0x0d;
const LF = 0x0a;
const LINE_END = '\r\n';
const LAST_CHUNK = '0\r\n\r\n';

/** Five hexadecimal digits: with the line end of the chunk before, its own, and the digits, a header fills HEADROOM. */
const MAX_CHUNK_BYTES = 0xfffff;
/** Around a chunk's bytes: the header, and the line end behind them. */
const CHUNK_OVERHEAD = HEADROOM + 2;
/** What a body that is not sent takes at once. */
const DROPPED_BYTES = 1 << 20;

/** How the body that is being sent is framed. */
type Framing = 'none' | 'length' | 'chunked' | 'until close';

/**
 * One side's messages, one behind another: heads, and bodies with their framing. What is small is joined with what else
 * goes out in the turn; a large piece of a body is written from where it is, its chunk header in the headroom before it.
 * The line end behind such a chunk becomes part of the next header, or goes out with the turn.
 */
export class MessageWriter implements TurnTask {
  readonly #outbox: Outbox;
  #framing: Framing = 'none';
  /** Of a body with a length. */
  #left = 0;
  #lineEndOwed = false;
  #taskQueued = false;

  constructor(outbox: Outbox) {
    this.#outbox = outbox;
  }

  /** Begins a message. @throws {MeshError} as encodeHead(); then nothing of it goes out. */
  head(head: ComposedHead): void {
    this.headAlone(head);
    const { body } = head;
    this.#left = Math.max(body, 0);
    this.#framing = body === CHUNKED ? 'chunked' : body === UNTIL_CLOSE ? 'until close' : 'length';
  }

  /** Sends the head of a message that is nothing else: a 1xx. @throws {MeshError} as encodeHead(). */
  headAlone(head: ComposedHead): void {
    const at = this.#outbox.room(head.text.length);
    this.#outbox.commit(encodeHead(head, this.#outbox.bytes, at));
  }

  /** From here on bytes are sent as they are. */
  tunnel(): void {
    this.#framing = 'until close';
  }

  /** The message has no body, though one is given: as an answer to HEAD. */
  dropBody(): void {
    this.#framing = 'none';
  }

  /** Sends text as it is. @param text latin1. */
  text(text: string): void {
    const at = this.#outbox.room(text.length);
    this.#outbox.commit(at + this.#outbox.buffer.write(text, at, 'latin1'));
  }

  /** How many bytes of the body would be taken now. */
  capacity(): number {
    if (this.#framing === 'none') return DROPPED_BYTES;
    const open = this.#outbox.capacity();
    return this.#framing === 'chunked' && open > 0 ? Math.max(1, open - CHUNK_OVERHEAD) : open;
  }

  /** Whether the message still has room for so much: a body is as long as its head says. */
  fits(length: number): boolean {
    return this.#framing !== 'length' || length <= this.#left;
  }

  /** Sends some of the body; returns how much was taken. */
  write(bytes: SharedBytes, offset: number, length: number): number {
    if (this.#framing === 'none') return length;
    if (this.#framing === 'chunked') return this.#writeChunk(bytes, offset, length);
    const taken = this.#writePlain(bytes, offset, length);
    if (this.#framing === 'length') this.#left -= taken;
    return taken;
  }

  /**
   * Ends the message, with trailers where its framing has a place for them.
   *
   * @returns false when its body is not whole.
   * @throws {MeshError} ERR_HTTP1_HEAD for an invalid field.
   */
  end(trailers?: HeaderList): boolean {
    if (this.#framing === 'length' && this.#left > 0) return false;
    if (this.#framing === 'chunked') {
      const last = trailers === undefined ? LAST_CHUNK : formatLastChunk(trailers);
      this.text(this.#lineEndOwed ? LINE_END + last : last);
      this.#lineEndOwed = false;
    }
    this.#framing = 'none';
    return true;
  }

  runTask(): void {
    this.#taskQueued = false;
    if (!this.#lineEndOwed) return;
    this.#lineEndOwed = false;
    this.text(LINE_END);
  }

  #writePlain(bytes: SharedBytes, offset: number, length: number): number {
    if (bytes.free === true && length > JOINED_WRITE_BYTES)
      return this.#outbox.writeBehindStage(bytes, offset, length);
    if (!this.#joins(length)) return this.#outbox.writePart(bytes, offset, length);
    const taken = Math.min(length, this.#outbox.capacity());
    if (taken <= 0) return 0;
    const at = this.#outbox.room(taken);
    this.#outbox.commit(at + bytes.buffer.copy(this.#outbox.buffer, at, offset, offset + taken));
    return taken;
  }

  #writeChunk(bytes: SharedBytes, offset: number, length: number): number {
    const taken = Math.min(length, this.capacity(), MAX_CHUNK_BYTES);
    if (taken <= 0) return 0;
    if (!this.#joins(taken) && offset >= HEADROOM) {
      const start = this.#putHeader(bytes.buffer, offset, taken);
      const sent = offset - start + taken;
      if (!this.#outbox.writeThrough(bytes, start, sent)) return 0;
      this.#oweLineEnd();
      return taken;
    }
    const count = Math.min(taken, JOINED_BODY_BYTES);
    const at = this.#outbox.room(CHUNK_OVERHEAD + count);
    const { buffer } = this.#outbox;
    const headerEnd = at + this.#headerBytes(count);
    this.#putHeader(buffer, headerEnd, count);
    let end = headerEnd + bytes.buffer.copy(buffer, headerEnd, offset, offset + count);
    buffer[end++] = CR;
    buffer[end++] = LF;
    this.#outbox.commit(end);
    this.#lineEndOwed = false;
    return count;
  }

  #headerBytes(bytes: number): number {
    const digits = (35 - Math.clz32(bytes)) >>> 2;
    return digits + 2 + (this.#lineEndOwed ? 2 : 0);
  }

  /** Writes a chunk's header so that it ends at `end`, with the line end that is owed; returns where it begins. */
  #putHeader(buffer: Buffer, end: number, bytes: number): number {
    let at = end;
    buffer[--at] = LF;
    buffer[--at] = CR;
    for (let rest = bytes; rest > 0; rest >>>= 4) {
      const digit = rest & 0xf;
      buffer[--at] = digit < 10 ? 0x30 + digit : 0x57 + digit;
    }
    if (this.#lineEndOwed) {
      buffer[--at] = LF;
      buffer[--at] = CR;
    }
    return at;
  }

  #joins(length: number): boolean {
    return length <= (this.#outbox.isEmpty ? JOINED_WRITE_BYTES : JOINED_BODY_BYTES);
  }

  #oweLineEnd(): void {
    this.#lineEndOwed = true;
    if (this.#taskQueued) return;
    this.#taskQueued = true;
    flushAtTurnEnd(this);
  }
}
