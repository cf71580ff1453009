import type { SharedBytes } from '../byte-stream.ts';
import { ENHANCE_YOUR_CALM, FRAME_SIZE_ERROR, Http2Violation, PROTOCOL_ERROR } from './errors.ts';
import {
  CLIENT_PREFACE,
  CONTINUATION,
  DATA,
  decodeFrameHeader,
  FLAG_ACK,
  FLAG_PADDED,
  FRAME_HEADER_BYTES,
  type FrameHeader,
  GOAWAY,
  GOAWAY_BYTES,
  HEADERS,
  PING,
  PING_BYTES,
  PRIORITY,
  PRIORITY_BYTES,
  PUSH_PROMISE,
  RST_STREAM,
  RST_STREAM_BYTES,
  SETTING_BYTES,
  SETTINGS,
  WINDOW_UPDATE,
  WINDOW_UPDATE_BYTES,
} from './frame.ts';
import { GOAWAY_DEBUG_BYTES, HEADER_BLOCK_BYTES, SETTINGS_PER_FRAME } from './limits.ts';

/** Who is told of frames; each method may throw an Http2Violation. */
export interface FrameReceiver {
  /** The stream whose header block goes on in CONTINUATION frames; 0 for none. */
  readonly openBlockStream: number;
  /** A DATA frame begins; its length counts against the windows now. */
  onDataBegin(frame: FrameHeader): void;
  /** A part of its payload, in memory that is the receiver's to overwrite up to its end. */
  onDataPayload(bytes: SharedBytes, offset: number, length: number): void;
  /** Padding, with its length byte, that came with the payload. */
  onDataPadding(length: number): void;
  onDataEnd(frame: FrameHeader): void;
  /** Any other known frame, whole; `length` is less than the frame's own for a GOAWAY with a long text. */
  onFrame(frame: FrameHeader, buffer: Buffer, at: number, length: number): void;
  /** A frame of an unknown type, which is skipped. RFC 9113 section 5.5. */
  onUnknownFrame(): void;
}

/** Padding and the priority fields, which may stand around a header block. */
const HEADERS_EXTRA_BYTES = 1 + PRIORITY_BYTES + 255;
/** Frames that are cut at the end of what was read are mostly small ones. */
const SMALL_CUT_BYTES = 64;

/** What #accept() says of a frame that is not collected. */
const PASSES_BY = -1;

/**
 * Finds the frames in what the transport reads, in place: only a frame header or a control frame that is cut at the end
 * of the input is copied aside; DATA is passed on as it comes.
 */
export class FrameReader {
  readonly #receiver: FrameReceiver;
  readonly #maxFrameBytes: number;
  #prefaceAt: number;
  #first = true;
  #stopped = false;
  readonly #frame: FrameHeader = { length: 0, type: 0, flags: 0, streamId: 0 };
  #inData = false;
  #padLengthDue = false;
  #payloadLeft = 0;
  #padLeft = 0;
  #skipLeft = 0;
  #cut: Buffer | undefined;
  #cutLength = 0;
  /** How much payload of the frame that is being collected is wanted; 0 while its header is not whole. */
  #wanted = 0;

  /** @param fromClient whether the peer begins with the client's preface. */
  constructor(receiver: FrameReceiver, maxFrameBytes: number, fromClient: boolean) {
    this.#receiver = receiver;
    this.#maxFrameBytes = maxFrameBytes;
    this.#prefaceAt = fromClient ? 0 : CLIENT_PREFACE.length;
  }

  /** What is left of the input, and all that follows, is ignored. */
  stop(): void {
    this.#stopped = true;
    this.#cut = undefined;
  }

  /** @throws {Http2Violation} after which nothing more may be read. */
  read(bytes: SharedBytes, offset: number, length: number): void {
    const { buffer } = bytes;
    const end = offset + length;
    let at = offset;
    if (this.#prefaceAt < CLIENT_PREFACE.length) at = this.#readPreface(buffer, at, end);
    while (at < end && !this.#stopped) {
      if (this.#inData) at = this.#readData(bytes, at, end);
      else if (this.#skipLeft > 0) {
        const count = Math.min(this.#skipLeft, end - at);
        this.#skipLeft -= count;
        at += count;
      } else if (this.#cutLength > 0) at = this.#readCut(buffer, at, end);
      else at = this.#readFrame(buffer, at, end);
    }
  }

  #readPreface(buffer: Buffer, at: number, end: number): number {
    const count = Math.min(CLIENT_PREFACE.length - this.#prefaceAt, end - at);
    const from = this.#prefaceAt;
    if (CLIENT_PREFACE.compare(buffer, at, at + count, from, from + count) !== 0)
      throw new Http2Violation(PROTOCOL_ERROR, 'no HTTP/2 preface');
    this.#prefaceAt += count;
    return at + count;
  }

  /** A frame that begins at `at`. */
  #readFrame(buffer: Buffer, at: number, end: number): number {
    const payload = at + FRAME_HEADER_BYTES;
    if (payload > end) return this.#keep(buffer, at, end, 0);
    decodeFrameHeader(buffer, at, this.#frame);
    const wanted = this.#accept();
    if (wanted === PASSES_BY) return payload;
    if (payload + wanted > end) return this.#keep(buffer, at, end, wanted);
    this.#skipLeft = this.#frame.length - wanted;
    this.#receiver.onFrame(this.#frame, buffer, payload, wanted);
    return payload + wanted;
  }

  /** A frame whose beginning was kept. */
  #readCut(buffer: Buffer, at: number, end: number): number {
    let from = at;
    if (this.#cutLength < FRAME_HEADER_BYTES) {
      from += Math.min(FRAME_HEADER_BYTES - this.#cutLength, end - at);
      const cut = this.#keepMore(buffer, at, from);
      if (this.#cutLength < FRAME_HEADER_BYTES) return from;
      decodeFrameHeader(cut, 0, this.#frame);
      this.#wanted = this.#accept();
      if (this.#wanted === PASSES_BY) {
        this.#cutLength = 0;
        return from;
      }
    }
    const missing = FRAME_HEADER_BYTES + this.#wanted - this.#cutLength;
    const count = Math.min(missing, end - from);
    const cut = this.#keepMore(buffer, from, from + count);
    if (count === missing) {
      this.#cutLength = 0;
      if (cut.length > SMALL_CUT_BYTES) this.#cut = undefined;
      this.#skipLeft = this.#frame.length - this.#wanted;
      this.#receiver.onFrame(this.#frame, cut, FRAME_HEADER_BYTES, this.#wanted);
    }
    return from + count;
  }

  #keep(buffer: Buffer, at: number, end: number, wanted: number): number {
    this.#cutLength = 0;
    this.#wanted = wanted;
    this.#keepMore(buffer, at, end);
    return end;
  }

  #keepMore(buffer: Buffer, at: number, end: number): Buffer {
    const whole = FRAME_HEADER_BYTES + this.#wanted;
    let cut = this.#cut;
    if (cut === undefined || cut.length < whole) {
      cut = Buffer.allocUnsafeSlow(Math.max(whole, SMALL_CUT_BYTES));
      this.#cut?.copy(cut, 0, 0, this.#cutLength);
      this.#cut = cut;
    }
    this.#cutLength += buffer.copy(cut, this.#cutLength, at, end);
    return cut;
  }

  #readData(bytes: SharedBytes, at: number, end: number): number {
    let from = at;
    if (this.#padLengthDue) {
      this.#padLengthDue = false;
      this.#padLeft = bytes.buffer[from++] ?? 0;
      this.#payloadLeft -= 1 + this.#padLeft;
      if (this.#payloadLeft < 0) throw tooMuchPadding();
      this.#receiver.onDataPadding(1 + this.#padLeft);
    }
    if (this.#payloadLeft > 0) {
      const count = Math.min(this.#payloadLeft, end - from);
      this.#payloadLeft -= count;
      if (count > 0) this.#receiver.onDataPayload(bytes, from, count);
      from += count;
    }
    if (this.#payloadLeft === 0) {
      const count = Math.min(this.#padLeft, end - from);
      this.#padLeft -= count;
      from += count;
      if (this.#padLeft === 0) this.#endData();
    }
    return from;
  }

  #endData(): void {
    this.#inData = false;
    if (!this.#stopped) this.#receiver.onDataEnd(this.#frame);
  }

  /** Checks a frame header; returns how much of the payload is to be collected, or PASSES_BY. */
  #accept(): number {
    const { length, type, flags, streamId } = this.#frame;
    if (length > this.#maxFrameBytes)
      throw wrongSize(`a frame of ${length} bytes, where ${this.#maxFrameBytes} are allowed`);
    if (this.#first) {
      if (type !== SETTINGS || (flags & FLAG_ACK) !== 0)
        throw new Http2Violation(PROTOCOL_ERROR, 'a connection that begins without SETTINGS');
      this.#first = false;
    }
    const { openBlockStream } = this.#receiver;
    if (openBlockStream === 0 ? type === CONTINUATION : type !== CONTINUATION)
      throw new Http2Violation(PROTOCOL_ERROR, 'a CONTINUATION out of place, or none where due');
    if (openBlockStream !== 0 && streamId !== openBlockStream)
      throw new Http2Violation(PROTOCOL_ERROR, 'a CONTINUATION of another stream');
    switch (type) {
      case DATA:
        this.#beginData();
        return PASSES_BY;
      case HEADERS:
      case CONTINUATION:
        if (length > HEADER_BLOCK_BYTES + HEADERS_EXTRA_BYTES)
          throw new Http2Violation(ENHANCE_YOUR_CALM, `a header block of ${length} bytes`);
        return length;
      case SETTINGS:
        if ((flags & FLAG_ACK) !== 0 ? length !== 0 : length % SETTING_BYTES !== 0)
          throw wrongSize(`SETTINGS of ${length} bytes`);
        if (length > SETTINGS_PER_FRAME * SETTING_BYTES)
          throw new Http2Violation(ENHANCE_YOUR_CALM, `SETTINGS of ${length} bytes`);
        return length;
      case PRIORITY:
        return exactly(PRIORITY_BYTES, length, 'PRIORITY');
      case RST_STREAM:
        return exactly(RST_STREAM_BYTES, length, 'RST_STREAM');
      case PING:
        return exactly(PING_BYTES, length, 'PING');
      case WINDOW_UPDATE:
        return exactly(WINDOW_UPDATE_BYTES, length, 'WINDOW_UPDATE');
      case GOAWAY:
        if (length < GOAWAY_BYTES) throw wrongSize(`GOAWAY of ${length} bytes`);
        return Math.min(length, GOAWAY_BYTES + GOAWAY_DEBUG_BYTES);

      case PUSH_PROMISE:
        throw new Http2Violation(PROTOCOL_ERROR, 'PUSH_PROMISE, which nobody allowed');
      default:
        this.#receiver.onUnknownFrame();
        this.#skipLeft = length;
        return PASSES_BY;
    }
  }

  #beginData(): void {
    const frame = this.#frame;
    this.#padLengthDue = (frame.flags & FLAG_PADDED) !== 0;
    if (this.#padLengthDue && frame.length === 0) throw tooMuchPadding();
    this.#receiver.onDataBegin(frame);
    this.#inData = true;
    this.#payloadLeft = frame.length;
    this.#padLeft = 0;
    if (frame.length === 0) this.#endData();
  }
}

function exactly(expected: number, length: number, name: string): number {
  if (length !== expected) throw wrongSize(`${name} of ${length} bytes`);
  return length;
}

function wrongSize(found: string): Http2Violation {
  return new Http2Violation(FRAME_SIZE_ERROR, found);
}

function tooMuchPadding(): Http2Violation {
  return new Http2Violation(PROTOCOL_ERROR, 'padding longer than its frame');
}
