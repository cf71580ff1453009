import ffi from 'node:ffi';

/**
 * A buffer whose memory native code may read: the address of its first byte was taken once and stays true while the
 * object lives (typed arrays do not move). The address dies with the object: keep the object, never the address alone.
 */
export type SharedBytes = Readonly<{
  buffer: Buffer;
  /** The same memory, of which several bytes are read at once. */
  view: DataView;
  address: bigint;
  /** What is read into: of all that lies before the bytes that are handed out nobody needs any more. */
  free?: boolean;
}> & {
  /** addressAt()'s own: where it was asked for last. */
  lastOffset: number;
  lastAddress: bigint;
};

/** Zeroed memory of its own (not of Node's pool), with its address. */
export function allocateShared(bytes: number): SharedBytes {
  return shareBuffer(Buffer.alloc(bytes));
}

/** The address of a buffer that its owner keeps alive. */
export function shareBuffer(buffer: Buffer): SharedBytes {
  const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
  const address = ffi.getRawPointer(buffer);
  return { buffer, view, address, lastOffset: 0, lastAddress: address };
}

/** The address of a byte, for native code. It is nearly always the one of before, and each bigint that is made costs some 50 ns. */
export function addressAt(bytes: SharedBytes, offset: number): bigint {
  if (bytes.lastOffset !== offset) {
    bytes.lastAddress = bytes.address + BigInt(offset);
    bytes.lastOffset = offset;
  }
  return bytes.lastAddress;
}

const MAX_KEPT_COUNT = 4096;
const counts = new Array<bigint | undefined>(MAX_KEPT_COUNT + 1).fill(undefined);

/** A number of bytes as native code takes it: those of small messages exist once. @throws {RangeError} unless it is whole and none below zero. */
export function countOf(bytes: number): bigint {
  if (!(bytes >= 0)) throw new RangeError(`Cannot use a count of ${bytes} bytes`);
  return bytes <= MAX_KEPT_COUNT ? (counts[bytes] ??= BigInt(bytes)) : BigInt(bytes);
}

/** A C string in memory of its own. */
export function cString(text: string): SharedBytes {
  if (text.includes('\0')) throw new RangeError('Cannot pass a text with NUL to native code');
  return shareBuffer(Buffer.from(`${text}\0`));
}

/** @throws {RangeError} unless `offset .. offset+length` lies within the buffer, both whole and below 2^31, as a C `int` is. */
export function checkRange(bytes: SharedBytes, offset: number, length: number): void {
  // A compiled call does not refuse the rest (library.ts). NaN passes neither half.
  const isWhole = (offset | 0) === offset && (length | 0) === length;
  if (!(isWhole && offset >= 0 && length >= 0 && offset + length <= bytes.buffer.length))
    throw new RangeError(`Cannot use bytes ${offset}+${length} of ${bytes.buffer.length}`);
}

/** Copies memory that native code owns; valid afterwards whatever happens to the original. */
export function copyNative(address: bigint, length: number): Buffer {
  return address === 0n || length === 0 ? Buffer.alloc(0) : ffi.toBuffer(address, length, true);
}

/** A view of memory that native code owns, true until that code next touches it. */
export function viewNative(address: bigint, length: number): Buffer {
  return address === 0n || length === 0 ? Buffer.alloc(0) : ffi.toBuffer(address, length, false);
}

/** The text of a C string that native code owns; '' for NULL. */
export function nativeText(address: bigint): string {
  return address === 0n ? '' : (ffi.toString(address) ?? '');
}
