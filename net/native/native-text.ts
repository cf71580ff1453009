import { openLibrary } from './library.ts';
import { allocateShared, copyNative, countOf } from './memory.ts';

const c = openLibrary({
  memcpy: { return: 'void', arguments: ['pointer', 'pointer', 'u64'] },
}).functions;

/** More than a name or a SPIFFE ID has. */
const scratch = allocateShared(4 << 10);

/**
 * The bytes of memory that native code owns, a character each (latin1). Most pass through a buffer that is there: each copy of its
 * own would be one more piece of memory outside of the heap, which the collector has to look after.
 */
export function nativeLatin1(address: bigint, length: number): string {
  if (address === 0n || length === 0) return '';
  if (length > scratch.buffer.length) return copyNative(address, length).toString('latin1');
  c.memcpy(scratch.address, address, countOf(length));
  return scratch.buffer.toString('latin1', 0, length);
}
