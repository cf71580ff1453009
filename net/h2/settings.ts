import { FLOW_CONTROL_ERROR, Http2Violation, PROTOCOL_ERROR } from './errors.ts';
import { SETTING_BYTES } from './frame.ts';
import {
  INITIAL_HEADER_TABLE_BYTES,
  INITIAL_WINDOW_BYTES,
  MAX_31_BITS,
  MAX_FRAME_BYTES,
  MIN_FRAME_BYTES,
} from './limits.ts';

/** Identifiers. RFC 9113 section 6.5.2; the last one: RFC 8441 section 3. */
export const HEADER_TABLE_SIZE = 0x1;
export const ENABLE_PUSH = 0x2;
export const MAX_CONCURRENT_STREAMS = 0x3;
export const INITIAL_WINDOW_SIZE = 0x4;
export const MAX_FRAME_SIZE = 0x5;
export const MAX_HEADER_LIST_SIZE = 0x6;
export const ENABLE_CONNECT_PROTOCOL = 0x8;

/** What the peer's SETTINGS have said so far; before the first, the initial values of RFC 9113 section 6.5.2. */
export class PeerSettings {
  headerTableBytes = INITIAL_HEADER_TABLE_BYTES;
  maxConcurrentStreams = MAX_31_BITS;
  initialWindowBytes = INITIAL_WINDOW_BYTES;
  maxFrameBytes = MIN_FRAME_BYTES;
  maxHeaderListBytes = MAX_31_BITS;
  connectProtocol = false;
  /** The smallest table size that the last frame passed through: an encoder must have gone down to it. RFC 7541 section 4.2. */
  lowestHeaderTableBytes = INITIAL_HEADER_TABLE_BYTES;

  /**
   * Applies the entries of a SETTINGS payload in their order; unknown identifiers are ignored.
   *
   * @param byServer the peer is a server, which must not ask for push.
   * @throws {Http2Violation} for a value that the RFC forbids.
   */
  apply(buffer: Buffer, at: number, length: number, byServer: boolean): void {
    this.lowestHeaderTableBytes = this.headerTableBytes;
    for (let entry = at; entry < at + length; entry += SETTING_BYTES)
      this.#applyOne(buffer.readUInt16BE(entry), buffer.readUInt32BE(entry + 2), byServer);
  }

  #applyOne(id: number, value: number, byServer: boolean): void {
    switch (id) {
      case HEADER_TABLE_SIZE:
        this.headerTableBytes = value;
        this.lowestHeaderTableBytes = Math.min(this.lowestHeaderTableBytes, value);
        return;
      case ENABLE_PUSH:
        if (value > 1 || (byServer && value === 1)) throw refuse('ENABLE_PUSH', value);
        return;
      case MAX_CONCURRENT_STREAMS:
        this.maxConcurrentStreams = Math.min(value, MAX_31_BITS);
        return;
      case INITIAL_WINDOW_SIZE:
        if (value > MAX_31_BITS) throw refuse('INITIAL_WINDOW_SIZE', value, FLOW_CONTROL_ERROR);
        this.initialWindowBytes = value;
        return;
      case MAX_FRAME_SIZE:
        if (value < MIN_FRAME_BYTES || value > MAX_FRAME_BYTES)
          throw refuse('MAX_FRAME_SIZE', value);
        this.maxFrameBytes = value;
        return;
      case MAX_HEADER_LIST_SIZE:
        this.maxHeaderListBytes = Math.min(value, MAX_31_BITS);
        return;
      case ENABLE_CONNECT_PROTOCOL:
        // RFC 8441 section 3: once given, it is not taken back.
        if (value > 1 || (this.connectProtocol && value === 0))
          throw refuse('ENABLE_CONNECT_PROTOCOL', value);
        this.connectProtocol = value === 1;
        return;
      default:
    }
  }
}

function refuse(name: string, value: number, code = PROTOCOL_ERROR): Http2Violation {
  return new Http2Violation(code, `SETTINGS_${name} is ${value}`);
}
