import { MeshError } from './errors.ts';

/** Universal tags of X.690; constructed ones with their bit. */
export const Tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  sequence: 0x30,
  set: 0x31,
  utcTime: 0x17,
  generalizedTime: 0x18,
} as const;

/** A context-specific tag, `[number]`. */
export function contextTag(number: number, constructed: boolean): number {
  return 0x80 | (constructed ? 0x20 : 0) | number;
}

/** One value: `bytes` is the whole, `content` what its header announces. Both are views, not copies. */
export type DerValue = Readonly<{ tag: number; content: Buffer; bytes: Buffer }>;

/** Certificates and requests are a few KiB; nothing that we read is near this. */
export const MAX_DER_BYTES = 64 * 1024;

/** An OID of X.509 has some 10 bytes. */
const MAX_OID_BYTES = 64;

/**
 * Reads `bytes` as exactly one value of DER: definite lengths in their shortest form, one-byte tags, nothing behind.
 * Nested values are read one level at a time, by DerReader, as a schema asks for them: there is no recursion to exhaust.
 *
 * @throws {MeshError} ERR_DER
 */
export function readDer(bytes: Uint8Array, tag: number, what: string): DerValue {
  if (bytes.length > MAX_DER_BYTES)
    throw derError(what, `${bytes.length} bytes, at most ${MAX_DER_BYTES} are allowed`);
  const reader = new DerReader(bytes, what);
  const value = reader.next(tag);
  reader.end();
  return value;
}

/** A cursor over the values that stand one behind the other in the content of a constructed one. */
export class DerReader {
  readonly #bytes: Buffer;
  readonly #what: string;
  #at = 0;

  /** @param what names the structure in errors. */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#what = what;
  }

  get done(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** The tag of the next value, or `undefined` at the end. */
  peek(): number | undefined {
    return this.#bytes[this.#at];
  }

  /** @throws {MeshError} ERR_DER unless a value with that tag comes next. */
  next(tag: number): DerValue {
    const found = this.peek();
    if (found !== tag) {
      const text = found === undefined ? 'the end' : `tag 0x${found.toString(16)}`;
      throw derError(this.#what, `${text} where 0x${tag.toString(16)} must stand`);
    }
    return this.any();
  }

  /** The next value if it has that tag. */
  optional(tag: number): DerValue | undefined {
    return this.peek() === tag ? this.any() : undefined;
  }

  /** A cursor over the content of the next value, which must have that tag. */
  enter(tag: number): DerReader {
    return new DerReader(this.next(tag).content, this.#what);
  }

  /** @throws {MeshError} ERR_DER for a header that is not DER, or a value that is cut short. */
  any(): DerValue {
    const bytes = this.#bytes;
    const start = this.#at;
    const tag = bytes[start];
    const first = bytes[start + 1];
    if (tag === undefined || first === undefined) throw derError(this.#what, 'an early end');
    if ((tag & 0x1f) === 0x1f) throw derError(this.#what, 'a tag of several bytes');
    let at = start + 2;
    let length = first;
    if (first >= 0x80) {
      const count = first & 0x7f;
      // 0 is the indefinite length of BER; three bytes already say more than MAX_DER_BYTES.
      if (count === 0 || count > 3 || at + count > bytes.length)
        throw derError(this.#what, 'a length that is not DER');
      length = bytes.readUIntBE(at, count);
      if (length < 0x80 || bytes[at] === 0)
        throw derError(this.#what, 'a length not in its shortest form');
      at += count;
    }
    if (at + length > bytes.length) throw derError(this.#what, 'a value that is cut short');
    this.#at = at + length;
    return {
      tag,
      content: bytes.subarray(at, this.#at),
      bytes: bytes.subarray(start, this.#at),
    };
  }

  /** @throws {MeshError} ERR_DER when something is left. */
  end(): void {
    if (!this.done) throw derError(this.#what, `${this.#bytes.length - this.#at} bytes too many`);
  }
}

/** @throws {MeshError} ERR_DER for anything but 00 and ff. */
export function readBoolean(value: DerValue, what: string): boolean {
  const [byte] = value.content;
  if (value.content.length !== 1 || (byte !== 0 && byte !== 0xff))
    throw derError(what, 'a boolean that is neither 00 nor ff');
  return byte === 0xff;
}

/**
 * The bytes of a non-negative integer, without the sign byte; zero is one zero byte.
 *
 * @throws {MeshError} ERR_DER for a negative one, or one not in its shortest form.
 */
export function readUnsigned(value: DerValue, what: string): Buffer {
  const [first, second = 0] = value.content;
  if (first === undefined) throw derError(what, 'an empty integer');
  if (first >= 0x80) throw derError(what, 'a negative integer');
  if (first !== 0 || value.content.length === 1) return value.content;
  if (second < 0x80) throw derError(what, 'an integer not in its shortest form');
  return value.content.subarray(1);
}

/** @throws {MeshError} ERR_DER unless the bits fill whole bytes, as in keys and signatures. */
export function readBitStringBytes(value: DerValue, what: string): Buffer {
  if (value.content[0] !== 0) throw derError(what, 'a bit string that does not fill its bytes');
  return value.content.subarray(1);
}

/**
 * A bit string of flags as a set of bit numbers, bit 0 first.
 *
 * @throws {MeshError} ERR_DER for more than 16 bits, or padding that is not zero.
 */
export function readBitFlags(value: DerValue, what: string): ReadonlySet<number> {
  const [unused, ...bytes] = value.content;
  const last = bytes.at(-1) ?? 0;
  if (unused === undefined || unused > 7 || bytes.length > 2 || (bytes.length === 0 && unused > 0))
    throw derError(what, 'a bit string of flags with a wrong length');
  if ((last & ((1 << unused) - 1)) !== 0) throw derError(what, 'padding that is not zero');
  const flags = bytes.flatMap((byte, index) =>
    [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => byte & (0x80 >> bit)).map((bit) => index * 8 + bit),
  );
  return new Set(flags);
}

/** Dotted decimal. @throws {MeshError} ERR_DER */
export function readOid(value: DerValue, what: string): string {
  const { content } = value;
  const last = content.at(-1);
  if (last === undefined || content.length > MAX_OID_BYTES || last >= 0x80)
    throw derError(what, 'an object identifier with a wrong length');
  const arcs: number[] = [];
  let arc = 0;
  for (const byte of content) {
    if (arc === 0 && byte === 0x80) throw derError(what, 'an object identifier with padding');
    arc = arc * 128 + (byte & 0x7f);
    if (!Number.isSafeInteger(arc)) throw derError(what, 'an object identifier out of range');
    if (byte >= 0x80) continue;
    if (arcs.length === 0) {
      const top = Math.min(2, Math.floor(arc / 40));
      arcs.push(top, arc - top * 40);
    } else arcs.push(arc);
    arc = 0;
  }
  return arcs.join('.');
}

const UTC_TIME = /^(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/;
const GENERALIZED_TIME = /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/;

/**
 * Milliseconds since the epoch of a UTCTime or GeneralizedTime in the only form that RFC 5280 section 4.1.2.5 allows.
 *
 * @throws {MeshError} ERR_DER
 */
export function readTime(value: DerValue, what: string): number {
  const pattern = value.tag === Tag.utcTime ? UTC_TIME : GENERALIZED_TIME;
  const known = value.tag === Tag.utcTime || value.tag === Tag.generalizedTime;
  const match = known ? pattern.exec(value.content.toString('latin1')) : null;
  if (match === null) throw derError(what, 'a time in a form that certificates do not have');
  const [short = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match
    .slice(1)
    .map(Number);
  const year = value.tag === Tag.utcTime ? short + (short < 50 ? 2000 : 1900) : short;
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second);
  // A 31st of February, or a second 60, would have moved on.
  const digits = date.toISOString().replace(/\.000/, '').replaceAll(/[-:T]/g, '');
  if (digits.slice(value.tag === Tag.utcTime ? 2 : 0) !== match[0])
    throw derError(what, 'a time that no calendar has');
  return date.getTime();
}

function derError(what: string, found: string): MeshError {
  return new MeshError('ERR_DER', 'local', `Cannot read ${what}: found ${found}`);
}
