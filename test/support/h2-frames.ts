import {
  DATA,
  FLAG_END_HEADERS,
  HEADERS,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from '../../net/h2/frame.ts';

/*
 * Frames as bytes, right or wrong, for peers that are written by hand.
 */

/** One frame as bytes; `length` lies where it is given. */
export function frame(
  type: number,
  flags: number,
  streamId: number,
  payload: Uint8Array = Buffer.alloc(0),
  length = payload.length,
): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(streamId, 5);
  return Buffer.concat([header, payload]);
}

export function u32(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => bytes.writeUInt32BE(value, index * 4));
  return bytes;
}

/** A header block of plain literals, which leaves every table alone. */
export function block(...fields: string[]): Buffer {
  const text = (value: string): Buffer => {
    const { length } = value;
    const prefix =
      length < 127 ? [length] : [127, 0x80 | ((length - 127) & 127), (length - 127) >> 7];
    return Buffer.concat([Buffer.from(prefix), Buffer.from(value, 'latin1')]);
  };
  return Buffer.concat(
    fields.flatMap((value, index) =>
      index % 2 === 0 ? [Buffer.from([0]), text(value)] : [text(value)],
    ),
  );
}

export const request = (method = 'GET', path = '/'): string[] => [
  ...[':method', method, ':scheme', 'http', ':path', path, ':authority', 'x'],
];

export function headers(streamId: number, flags: number, ...fields: string[]): Buffer {
  return frame(HEADERS, FLAG_END_HEADERS | flags, streamId, block(...fields));
}

export function setting(id: number, value: number): Buffer {
  return Buffer.concat([Buffer.from([id >> 8, id]), u32(value)]);
}

export const data = (streamId: number, flags: number, text: string): Buffer =>
  frame(DATA, flags, streamId, Buffer.from(text));

export const settings = (...entries: Buffer[]): Buffer =>
  frame(SETTINGS, 0, 0, Buffer.concat(entries));

export const windowUpdate = (streamId: number, increment: number): Buffer =>
  frame(WINDOW_UPDATE, 0, streamId, u32(increment));

/** @param code CANCEL unless told otherwise. */
export const rstStream = (streamId: number, code = 8): Buffer =>
  frame(RST_STREAM, 0, streamId, u32(code));
