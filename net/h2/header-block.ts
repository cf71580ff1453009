import { ENHANCE_YOUR_CALM, Http2Violation, PROTOCOL_ERROR } from './errors.ts';
import {
  FLAG_END_HEADERS,
  FLAG_END_STREAM,
  FLAG_PADDED,
  FLAG_PRIORITY,
  type FrameHeader,
  PRIORITY_BYTES,
} from './frame.ts';
import { HpackDecoder } from './hpack-decoder.ts';
import {
  CONTINUATIONS_PER_BLOCK,
  HEADER_BLOCK_BYTES,
  INITIAL_HEADER_TABLE_BYTES,
} from './limits.ts';
import type { Http2Parameters } from './options.ts';

/**
 * Header blocks, of one HEADERS frame or with CONTINUATION frames behind it, decoded one after the other.
 * A block that is whole in its first frame is decoded where it is.
 */
export class HeaderBlockReader {
  readonly decoder = new HpackDecoder();
  /** The stream whose block is not whole yet; 0 for none. */
  streamId = 0;
  /** Of the block that is whole: its stream, its list, and whether END_STREAM came with it. */
  blockStreamId = 0;
  headers: string[] = [];
  endStream = false;
  readonly #maxListBytes: number;
  readonly #tableBytes: number;
  #parts: Buffer[] = [];
  #length = 0;

  constructor(parameters: Http2Parameters) {
    this.#maxListBytes = parameters.maxHeaderListBytes;
    this.#tableBytes = parameters.headerTableBytes;
    if (this.#tableBytes > INITIAL_HEADER_TABLE_BYTES)
      this.decoder.setAllowedTableBytes(this.#tableBytes);
  }

  /** The peer knows our table size now. */
  onSettingsAck(): void {
    this.decoder.setAllowedTableBytes(this.#tableBytes);
  }

  /** A HEADERS frame; true when the block is whole. */
  begin(frame: FrameHeader, buffer: Buffer, at: number): boolean {
    let from = at;
    let end = at + frame.length;
    if ((frame.flags & FLAG_PADDED) !== 0) end -= frame.length === 0 ? 1 : (buffer[from++] ?? 0);
    if ((frame.flags & FLAG_PRIORITY) !== 0) {
      if (from + PRIORITY_BYTES <= end && dependency(buffer, from) === frame.streamId)
        throw new Http2Violation(PROTOCOL_ERROR, 'a priority on itself');
      from += PRIORITY_BYTES;
    }
    if (from > end) throw new Http2Violation(PROTOCOL_ERROR, 'padding longer than its frame');
    this.endStream = (frame.flags & FLAG_END_STREAM) !== 0;
    this.blockStreamId = frame.streamId;
    if ((frame.flags & FLAG_END_HEADERS) !== 0) {
      this.#decode(buffer, from, end - from);
      return true;
    }
    this.streamId = frame.streamId;
    this.#add(buffer, from, end);
    return false;
  }

  /** A CONTINUATION frame of that block; true when it is whole. */
  append(frame: FrameHeader, buffer: Buffer, at: number): boolean {
    if (this.#parts.length > CONTINUATIONS_PER_BLOCK)
      throw new Http2Violation(ENHANCE_YOUR_CALM, 'a header block in too many frames');
    this.#add(buffer, at, at + frame.length);
    if ((frame.flags & FLAG_END_HEADERS) === 0) return false;
    const block = Buffer.concat(this.#parts, this.#length);
    this.streamId = 0;
    this.#parts = [];
    this.#length = 0;
    this.#decode(block, 0, block.length);
    return true;
  }

  #add(buffer: Buffer, from: number, end: number): void {
    this.#length += end - from;
    if (this.#length > HEADER_BLOCK_BYTES)
      throw new Http2Violation(ENHANCE_YOUR_CALM, `a header block of ${this.#length} bytes`);
    this.#parts.push(Buffer.from(buffer.subarray(from, end)));
  }

  #decode(buffer: Buffer, at: number, length: number): void {
    this.headers = this.decoder.decode(buffer, at, length, this.#maxListBytes);
  }
}

function dependency(buffer: Buffer, at: number): number {
  return buffer.readUInt32BE(at) & 0x7fff_ffff;
}
