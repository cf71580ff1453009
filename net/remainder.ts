import { HEADROOM, type SharedBytes } from './byte-stream.ts';
import { allocateShared } from './native/memory.ts';

/** A copy of what somebody has not taken, with room for a frame header before it. */
export class Remainder {
  readonly bytes: SharedBytes;
  offset = HEADROOM;
  length: number;

  constructor(from: Buffer, offset: number, length: number) {
    this.bytes = allocateShared(HEADROOM + length);
    from.copy(this.bytes.buffer, HEADROOM, offset, offset + length);
    this.length = length;
  }

  /** So much of it has been taken now; whether that was all. */
  consume(taken: number): boolean {
    this.offset += taken;
    this.length -= taken;
    return this.length === 0;
  }
}
