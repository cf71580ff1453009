import { Tag, contextTag } from './der.ts';

/** One value of DER: its tag, the length of its parts, the parts. */
export function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const header =
    length < 0x80
      ? [tag, length]
      : length < 0x100
        ? [tag, 0x81, length]
        : length < 0x10000
          ? [tag, 0x82, length >> 8, length & 0xff]
          : [tag, 0x83, length >> 16, (length >> 8) & 0xff, length & 0xff];
  return Buffer.concat([Uint8Array.from(header), ...parts], header.length + length);
}

export function derSequence(...parts: readonly Uint8Array[]): Buffer {
  return der(Tag.sequence, ...parts);
}

export function derSet(...parts: readonly Uint8Array[]): Buffer {
  return der(Tag.set, ...parts);
}

/** `[number]` around its parts. */
export function derContext(number: number, ...parts: readonly Uint8Array[]): Buffer {
  return der(contextTag(number, true), ...parts);
}

export function derBoolean(value: boolean): Buffer {
  return der(Tag.boolean, Uint8Array.of(value ? 0xff : 0));
}

/** A non-negative integer of big-endian bytes, in its shortest form. */
export function derUnsigned(bytes: Uint8Array): Buffer {
  let at = 0;
  while (at < bytes.length - 1 && bytes[at] === 0) at++;
  const rest = bytes.subarray(at);
  return der(Tag.integer, Uint8Array.from((rest[0] ?? 0x80) >= 0x80 ? [0] : []), rest);
}

/** Bits that fill whole bytes. */
export function derBitString(bytes: Uint8Array): Buffer {
  return der(Tag.bitString, Uint8Array.of(0), bytes);
}

/** A bit string of flags, 0 to 15, without trailing zeros as X.690 section 11.2.2 wants it. */
export function derBitFlags(...flags: readonly number[]): Buffer {
  const highest = Math.max(...flags);
  const bytes = new Uint8Array((highest >> 3) + 1);
  for (const flag of flags) bytes[flag >> 3] = (bytes[flag >> 3] ?? 0) | (0x80 >> (flag & 7));
  return der(Tag.bitString, Uint8Array.of(7 - (highest & 7)), bytes);
}

/** From dotted decimal. */
export function derOid(text: string): Buffer {
  const [top = 0, second = 0, ...rest] = text.split('.').map(Number);
  const bytes = [top * 40 + second, ...rest].flatMap((arc) => {
    const digits = [arc & 0x7f];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128))
      digits.unshift((left & 0x7f) | 0x80);
    return digits;
  });
  return der(Tag.oid, Uint8Array.from(bytes));
}

/** UTCTime through 2049, GeneralizedTime after it (RFC 5280 section 4.1.2.5); fractions of a second are cut off. */
export function derTime(timeMs: number): Buffer {
  const date = new Date(timeMs);
  const digits = date.toISOString().replace(/\.\d+/, '').replaceAll(/[-:T]/g, '');
  return date.getUTCFullYear() < 2050
    ? der(Tag.utcTime, Buffer.from(digits.slice(2), 'latin1'))
    : der(Tag.generalizedTime, Buffer.from(digits, 'latin1'));
}
