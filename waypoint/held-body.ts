import { HEADROOM, type SharedBytes } from '../net/byte-stream.ts';
import { allocateShared } from '../net/shared-bytes.ts';

/** Most bodies that somebody is shown are small; the memory doubles as they grow. */
const FIRST_BYTES = 4096;
/** 64 MiB in all requests of a thread: whoever could hold more of it would need no other attack. */
const TOTAL_BYTES = 64 << 20;
/** Handing on overwrites what stands before the payload, so nothing is handed on from where it is held. */
const PIECE_BYTES = 16 << 10;
const scratch = allocateShared(HEADROOM + PIECE_BYTES);

let totalBytes = 0;

/** The beginning of one request's body: held while somebody is shown it, then handed on as if it had just come. */
export class HeldBody {
  readonly #limitBytes: number;
  #buffer = Buffer.alloc(0);
  #length = 0;
  #handedOn = 0;
  /** There was no memory for what came: what is here is not all that was wanted. */
  overflowed = false;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** What is here; valid until more is taken or it is released. */
  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  get room(): number {
    return this.overflowed ? 0 : this.#limitBytes - this.#length;
  }

  get isEmpty(): boolean {
    return this.#handedOn >= this.#length;
  }

  /** @returns how many bytes were taken: fewer at the limit, or without memory. */
  append(bytes: SharedBytes, offset: number, length: number): number {
    const taken = Math.min(length, this.room);
    if (!this.#makeRoom(this.#length + taken)) return 0;
    bytes.buffer.copy(this.#buffer, this.#length, offset, offset + taken);
    this.#length += taken;
    return taken;
  }

  /** Hands on what `take` takes, in pieces, as ByteSink.onData() gets them; true when nothing is left. */
  handOn(take: (bytes: SharedBytes, offset: number, length: number) => number): boolean {
    while (!this.isEmpty) {
      const length = Math.min(PIECE_BYTES, this.#length - this.#handedOn);
      this.#buffer.copy(scratch.buffer, HEADROOM, this.#handedOn, this.#handedOn + length);
      const taken = take(scratch, HEADROOM, length);
      this.#handedOn += taken;
      if (taken < length) return false;
    }
    return true;
  }

  /** Gives its memory back. Idempotent. */
  release(): void {
    totalBytes -= this.#buffer.length;
    this.#buffer = Buffer.alloc(0);
    this.#length = 0;
    this.#handedOn = 0;
  }

  #makeRoom(length: number): boolean {
    if (length <= this.#buffer.length) return true;
    const size = Math.min(this.#limitBytes, Math.max(FIRST_BYTES, this.#buffer.length * 2, length));
    if (totalBytes + size - this.#buffer.length > TOTAL_BYTES) {
      this.overflowed = true;
      return false;
    }
    totalBytes += size - this.#buffer.length;
    const larger = Buffer.allocUnsafeSlow(size);
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
    return true;
  }
}

/** What all requests of this thread hold now. */
export function heldBodyBytes(): number {
  return totalBytes;
}
