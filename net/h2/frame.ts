/**
 * Frames as bytes. RFC 9113 sections 4 and 6.
 * ```
 * +-----------------------------------------------+
 * |                 Length (24)                   |
 * +---------------+---------------+---------------+
 * |   Type (8)    |   Flags (8)   |
 * +-+-------------+---------------+-------------------------------+
 * |R|                 Stream identifier (31)                      |
 * +=+=============================================================+
 * ```
 * Everything is read from and written into a buffer at an offset; nothing is allocated.
 */

export const FRAME_HEADER_BYTES = 9;

export const DATA = 0x0;
export const HEADERS = 0x1;
export const PRIORITY = 0x2;
export const RST_STREAM = 0x3;
export const SETTINGS = 0x4;
export const PUSH_PROMISE = 0x5;
export const PING = 0x6;
export const GOAWAY = 0x7;
export const WINDOW_UPDATE = 0x8;
export const CONTINUATION = 0x9;

export const FLAG_END_STREAM = 0x1;
export const FLAG_ACK = 0x1;
export const FLAG_END_HEADERS = 0x4;
export const FLAG_PADDED = 0x8;
export const FLAG_PRIORITY = 0x20;

/** What a client sends before its first frame. RFC 9113 section 3.4. */
export const CLIENT_PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

/** Payload lengths that the RFC fixes. */
export const PRIORITY_BYTES = 5;
export const RST_STREAM_BYTES = 4;
export const SETTING_BYTES = 6;
export const PING_BYTES = 8;
export const GOAWAY_BYTES = 8;
export const WINDOW_UPDATE_BYTES = 4;

/** What one SETTINGS frame says: identifier -> value. */
export type Settings = ReadonlyMap<number, number>;

/** A frame header that is filled again for each frame. */
export type FrameHeader = { length: number; type: number; flags: number; streamId: number };

/** Reads the 9 bytes at `at` into `header`; the reserved bit is dropped. */
export function decodeFrameHeader(buffer: Buffer, at: number, header: FrameHeader): void {
  const lengthAndType = buffer.readUInt32BE(at);
  header.length = lengthAndType >>> 8;
  header.type = lengthAndType & 0xff;
  header.flags = buffer[at + 4] ?? 0;
  header.streamId = buffer.readUInt32BE(at + 5) & 0x7fff_ffff;
}

/** Writes the 9 bytes at `at`; returns where the payload begins. */
export function encodeFrameHeader(
  buffer: Buffer,
  at: number,
  length: number,
  type: number,
  flags: number,
  streamId: number,
): number {
  buffer[at] = length >>> 16;
  buffer[at + 1] = length >>> 8;
  buffer[at + 2] = length;
  buffer[at + 3] = type;
  buffer[at + 4] = flags;
  return encodeUint32(buffer, at + 5, streamId);
}

/** Writes a RST_STREAM frame at `at`; returns its end. */
export function encodeRstStream(
  buffer: Buffer,
  at: number,
  streamId: number,
  code: number,
): number {
  const payload = encodeFrameHeader(buffer, at, RST_STREAM_BYTES, RST_STREAM, 0, streamId);
  return encodeUint32(buffer, payload, code);
}

/** Writes a WINDOW_UPDATE frame at `at`; returns its end. */
export function encodeWindowUpdate(
  buffer: Buffer,
  at: number,
  streamId: number,
  increment: number,
): number {
  const payload = encodeFrameHeader(buffer, at, WINDOW_UPDATE_BYTES, WINDOW_UPDATE, 0, streamId);
  return encodeUint32(buffer, payload, increment);
}

/** Writes a PING frame at `at` with the 8 bytes as two numbers; returns its end. */
export function encodePing(
  buffer: Buffer,
  at: number,
  flags: number,
  high: number,
  low: number,
): number {
  const payload = encodeFrameHeader(buffer, at, PING_BYTES, PING, flags, 0);
  return encodeUint32(buffer, encodeUint32(buffer, payload, high), low);
}

/** Writes a GOAWAY frame without debug data at `at`; returns its end. */
export function encodeGoaway(
  buffer: Buffer,
  at: number,
  lastStreamId: number,
  code: number,
): number {
  const payload = encodeFrameHeader(buffer, at, GOAWAY_BYTES, GOAWAY, 0, 0);
  return encodeUint32(buffer, encodeUint32(buffer, payload, lastStreamId), code);
}

/** Writes a SETTINGS frame of `settings` in the order of their ids at `at`; returns its end. */
export function encodeSettings(buffer: Buffer, at: number, settings: Settings): number {
  const payload = encodeFrameHeader(buffer, at, settings.size * SETTING_BYTES, SETTINGS, 0, 0);
  let end = payload;
  for (const [id, value] of settings) {
    buffer[end] = id >>> 8;
    buffer[end + 1] = id;
    end = encodeUint32(buffer, end + 2, value);
  }
  return end;
}

/** Writes the SETTINGS frame that acknowledges the peer's at `at`; returns its end. */
export function encodeSettingsAck(buffer: Buffer, at: number): number {
  return encodeFrameHeader(buffer, at, 0, SETTINGS, FLAG_ACK, 0);
}

function encodeUint32(buffer: Buffer, at: number, value: number): number {
  buffer[at] = value >>> 24;
  buffer[at + 1] = value >>> 16;
  buffer[at + 2] = value >>> 8;
  buffer[at + 3] = value;
  return at + 4;
}
