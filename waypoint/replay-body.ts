import { type ByteStream, HEADROOM, type SharedBytes } from '../net/byte-stream.ts';
import { allocateShared } from '../net/shared-bytes.ts';

/** 64 KiB of a request's body are kept for another try, as Envoy's default for that; what is longer is sent once. */
export const REPLAY_BYTES = 64 << 10;
/** Small bodies are the rule, so memory is taken in small pieces. */
const PIECE_BYTES = 4096;
/** 32 MiB in all requests of a thread; beyond that requests are sent once. */
const TOTAL_BYTES = 32 << 20;
const TOTAL_PIECES = TOTAL_BYTES / PIECE_BYTES;
/** Pieces that are kept for the next requests: 1 MiB. */
const KEPT_PIECES = 256;

const kept: Buffer[] = [];
let piecesInUse = 0;
/** Writing overwrites what stands before the payload, so nothing is written from the pieces themselves. */
const scratch = allocateShared(HEADROOM + PIECE_BYTES);

/** The beginning of one request's body, kept until a response has begun or the body has grown too long. */
export class ReplayBody {
  readonly #pieces: Buffer[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** How many more bytes it takes; asks for no memory. */
  get room(): number {
    const free = this.#pieces.length * PIECE_BYTES - this.#length;
    const more = (TOTAL_PIECES - piecesInUse) * PIECE_BYTES;
    return Math.min(REPLAY_BYTES - this.#length, free + more);
  }

  /** @param length within `room`. */
  append(bytes: SharedBytes, offset: number, length: number): void {
    for (let done = 0; done < length; ) {
      const at = this.#length % PIECE_BYTES;
      const index = (this.#length - at) / PIECE_BYTES;
      const piece = (this.#pieces[index] ??= takePiece());
      const from = offset + done;
      const copied = bytes.buffer.copy(
        piece,
        at,
        from,
        from + Math.min(length - done, PIECE_BYTES - at),
      );
      done += copied;
      this.#length += copied;
    }
  }

  /** Takes back the end of what was appended. */
  truncate(length: number): void {
    this.#length = length;
  }

  /** Writes on from `position`; returns the new position, short of the end when the stream takes no more. */
  writeTo(stream: ByteStream, position: number): number {
    let done = position;
    while (done < this.#length) {
      const at = done % PIECE_BYTES;
      const piece = this.#pieces[(done - at) / PIECE_BYTES];
      if (piece === undefined) break;
      const length = Math.min(this.#length - done, PIECE_BYTES - at);
      piece.copy(scratch.buffer, HEADROOM, at, at + length);
      const wrote = stream.write(scratch, HEADROOM, length);
      done += wrote;
      if (wrote < length) break;
    }
    return done;
  }

  /** Gives its memory back; it is empty then. Idempotent. */
  release(): void {
    piecesInUse -= this.#pieces.length;
    for (const piece of this.#pieces) if (kept.length < KEPT_PIECES) kept.push(piece);
    this.#pieces.length = 0;
    this.#length = 0;
  }
}

/** Pieces that requests hold now, in this thread. */
export function replayPiecesInUse(): number {
  return piecesInUse;
}

function takePiece(): Buffer {
  piecesInUse++;
  return kept.pop() ?? Buffer.allocUnsafeSlow(PIECE_BYTES);
}
