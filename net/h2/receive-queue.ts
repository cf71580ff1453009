import { HEADROOM, type SharedBytes } from '../byte-stream.ts';
import { allocateShared } from '../native/memory.ts';

/** A piece of the queue; what is in it stands from `start` to `end`, after at least HEADROOM bytes. */
export type Piece = { readonly bytes: SharedBytes; start: number; end: number };

/** The first piece of a queue is as small as this, so that many streams with a few bytes each take little. */
const SMALL_BYTES = 2 << 10;
const LARGE_BYTES = 64 << 10;
/** Large pieces that a thread keeps for the next slow reader: 2 MiB. */
const KEPT_PIECES = 32;

const kept: Piece[] = [];

/**
 * What a stream's sink has not taken yet. Bytes are joined into pieces, so that a peer that sends single bytes cannot
 * make it larger than they are; its bound is the stream's window.
 */
export class ReceiveQueue {
  readonly #pieces: Piece[] = [];
  length = 0;

  push(bytes: SharedBytes, offset: number, length: number): void {
    let at = offset;
    const end = offset + length;
    while (at < end) {
      let piece = this.#pieces.at(-1);
      if (piece === undefined || piece.end === piece.bytes.buffer.length) {
        piece = takePiece(this.length + end - at);
        this.#pieces.push(piece);
      }
      const count = Math.min(end - at, piece.bytes.buffer.length - piece.end);
      bytes.buffer.copy(piece.bytes.buffer, piece.end, at, at + count);
      piece.end += count;
      at += count;
    }
    this.length += length;
  }

  /** The oldest bytes; `undefined` when there are none. */
  head(): Piece | undefined {
    return this.#pieces[0];
  }

  /** Drops the first `length` bytes of head(). */
  consume(length: number): void {
    const [head] = this.#pieces;
    if (head === undefined) return;
    head.start += length;
    this.length -= length;
    if (head.start < head.end) return;
    this.#pieces.shift();
    keepPiece(head);
  }

  clear(): void {
    for (const piece of this.#pieces) keepPiece(piece);
    this.#pieces.length = 0;
    this.length = 0;
  }
}

function takePiece(length: number): Piece {
  if (length <= SMALL_BYTES) return makePiece(SMALL_BYTES);
  return kept.pop() ?? makePiece(LARGE_BYTES);
}

function makePiece(length: number): Piece {
  return { bytes: allocateShared(HEADROOM + length), start: HEADROOM, end: HEADROOM };
}

function keepPiece(piece: Piece): void {
  if (piece.bytes.buffer.length !== HEADROOM + LARGE_BYTES || kept.length >= KEPT_PIECES) return;
  piece.start = HEADROOM;
  piece.end = HEADROOM;
  kept.push(piece);
}
