import ffi from 'node:ffi';
import { nativeLatin1 } from './native-text.ts';

/** The protocol names of a client's list: one length byte and the name, each. */
export function readAlpnList(address: bigint, length: number): string[] {
  const wire = nativeLatin1(address, length);
  const names: string[] = [];
  for (let at = 0; at < wire.length; ) {
    const size = wire.charCodeAt(at);
    names.push(wire.slice(at + 1, at + 1 + size));
    at += 1 + size;
  }
  return names;
}

/** Answers a selection callback: where the chosen name is, and how long. */
export function writeAlpnSelection(
  out: bigint,
  outLength: bigint,
  name: bigint,
  length: number,
): void {
  ffi.setUint64(out, 0, name);
  ffi.setUint8(outLength, 0, length);
}
