import { deepStrictEqual } from 'node:assert';
import type { SharedBytes } from '../../../net/byte-stream.ts';
import { shareBuffer } from '../../../net/native/memory.ts';
import { Http2Violation } from '../../../net/h2/errors.ts';
import {
  CLIENT_PREFACE,
  CONTINUATION,
  encodeFrameHeader,
  FLAG_END_HEADERS,
  FLAG_PADDED,
  FRAME_HEADER_BYTES,
  HEADERS,
  type FrameHeader,
} from '../../../net/h2/frame.ts';
import { FrameReader, type FrameReceiver } from '../../../net/h2/frame-reader.ts';
import type { Target } from '../oracle.ts';
import { splitChoice } from '../oracle.ts';

const MAX_FRAME_BYTES = 1 << 14;

type Seen = Readonly<{ frame: FrameHeader; payload: string }>;

/** What a connection would see: each frame once it is whole, DATA without its padding. */
class Receiver implements FrameReceiver {
  openBlockStream = 0;
  readonly frames: Seen[] = [];
  #data = '';

  onDataBegin(): void {
    this.#data = '';
  }

  onDataPayload({ buffer }: SharedBytes, offset: number, length: number): void {
    this.#data += buffer.toString('hex', offset, offset + length);
  }

  onDataPadding(): void {
    // Padding says nothing.
  }

  onDataEnd(frame: FrameHeader): void {
    const flags = frame.flags & ~FLAG_PADDED;
    this.frames.push({ frame: { ...frame, flags, length: 0 }, payload: this.#data });
  }

  onFrame(frame: FrameHeader, buffer: Buffer, at: number, length: number): void {
    if (frame.type === HEADERS || frame.type === CONTINUATION)
      this.openBlockStream = (frame.flags & FLAG_END_HEADERS) === 0 ? frame.streamId : 0;
    const payload = buffer.toString('hex', at, at + length);
    this.frames.push({ frame: { ...frame, length: 0 }, payload });
  }

  onUnknownFrame(): void {
    // It is skipped.
  }
}

type Reading = Readonly<{ frames: readonly Seen[]; violation: number | undefined }>;

function readPieces(pieces: readonly Buffer[], fromClient: boolean): Reading {
  const receiver = new Receiver();
  const reader = new FrameReader(receiver, MAX_FRAME_BYTES, fromClient);
  try {
    for (const piece of pieces) reader.read(shareBuffer(Buffer.from(piece)), 0, piece.length);
  } catch (error) {
    if (!(error instanceof Http2Violation)) throw error;
    return { frames: receiver.frames, violation: error.h2Code };
  }
  return { frames: receiver.frames, violation: undefined };
}

function split(bytes: Buffer, pieceBytes: number): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes)
    pieces.push(bytes.subarray(at, at + pieceBytes));
  return pieces;
}

function encode({ frame, payload }: Seen): Buffer {
  const bytes = Buffer.from(payload, 'hex');
  const header = Buffer.alloc(FRAME_HEADER_BYTES);
  encodeFrameHeader(header, 0, bytes.length, frame.type, frame.flags, frame.streamId);
  return Buffer.concat([header, bytes]);
}

/** However a connection's bytes are cut, the same frames come out; and written again they are read again. */
export const target: Target = {
  maxBytes: 40_000,
  check(input) {
    const [choice, rest] = splitChoice(input);
    const fromClient = (choice & 0x80) !== 0;
    const bytes = fromClient ? Buffer.concat([CLIENT_PREFACE, rest]) : rest;
    const whole = readPieces([bytes], fromClient);
    // Of a DATA frame that is cut by a violation behind it, both have seen the same.
    deepStrictEqual(readPieces(split(bytes, 1 + (choice & 0x7f)), fromClient), whole);
    const again = Buffer.concat(whole.frames.map(encode));
    deepStrictEqual(readPieces([again], false).frames, whole.frames);
  },
};
