import type { HeaderList } from './headers.ts';
import { DynamicTable, fieldBytes, knownNames, STATIC_ENTRIES } from './hpack-table.ts';
import { encodeHuffman, huffmanLength } from './huffman.ts';
import { INITIAL_HEADER_TABLE_BYTES } from './limits.ts';

/** Most bytes of an integer here; a block may begin with two of them, table size updates. */
const INTEGER_BYTES = 6;

/** The entries of one name: the number of the newest, and of each value's. */
type EntriesOfName = { newest: number; numbers: Map<string, number> };

/**
 * Encodes the header blocks of one direction of a connection. RFC 7541.
 *
 * A field that repeats becomes one or two bytes. Fields whose values change with every request stay out of the table.
 */
export class HpackEncoder {
  readonly #table: DynamicTable;
  #entries: Map<string, EntriesOfName> | undefined;
  /** What we use at most, whatever the peer allows. */
  readonly #wantedTableBytes: number;
  /** The table size that the peer's decoder knows of, and the lowest since then: both are told before the next field. RFC 7541 section 4.2. */
  #announced = INITIAL_HEADER_TABLE_BYTES;
  #lowest = INITIAL_HEADER_TABLE_BYTES;

  constructor(wantedTableBytes = INITIAL_HEADER_TABLE_BYTES) {
    this.#wantedTableBytes = wantedTableBytes;
    this.#table = new DynamicTable(INITIAL_HEADER_TABLE_BYTES, (name, value, number) => {
      this.#forget(name, value, number);
    });
    this.setAllowedTableBytes(INITIAL_HEADER_TABLE_BYTES);
  }

  /**
   * What the peer's SETTINGS allow from now on.
   *
   * @param lowest the smallest size that they passed through on the way.
   */
  setAllowedTableBytes(bytes: number, lowest = bytes): void {
    const limit = Math.min(bytes, this.#wantedTableBytes);
    this.#lowest = Math.min(this.#lowest, lowest, limit);
    this.#table.setLimit(Math.min(lowest, limit));
    this.#table.setLimit(limit);
  }

  /** No block of these fields is longer. */
  maxBlockBytes(headers: HeaderList): number {
    let bytes = 2 * INTEGER_BYTES;
    for (let index = 0; index < headers.length; index++)
      bytes += (headers[index] ?? '').length + INTEGER_BYTES;
    return bytes;
  }

  /**
   * Writes a header block at `at`, where maxBlockBytes() have room; returns its end.
   *
   * @param headers valid fields (isValidField()).
   * @param neverIndexed names of fields that must not enter any table.
   */
  encode(
    buffer: Buffer,
    at: number,
    headers: HeaderList,
    neverIndexed: readonly string[] = none,
  ): number {
    let end = at;
    const { limitBytes } = this.#table;
    if (limitBytes !== this.#announced || this.#lowest < limitBytes)
      end = this.#announceTableSize(buffer, end, limitBytes);
    for (let index = 0; index < headers.length; index += 2) {
      const name = headers[index] ?? '';
      const secret = neverIndexed.length > 0 && neverIndexed.includes(name);
      end = this.#field(buffer, end, name, headers[index + 1] ?? '', secret);
    }
    return end;
  }

  #field(buffer: Buffer, at: number, name: string, value: string, secret: boolean): number {
    const known = knownNames.get(name);
    const indexing = secret ? 'never' : (known?.indexing ?? 'table');
    const entries = this.#entries?.get(name);
    if (indexing !== 'never') {
      // A value is looked for where one can be: to look takes longer than to write it, as it may never have been hashed.
      const fixed =
        known !== undefined && known.values.size > 0 ? known.values.get(value) : undefined;
      if (fixed !== undefined) return encodeInteger(buffer, at, 0x80, 0x7f, fixed);
      const number = entries?.numbers.get(value);
      if (number !== undefined)
        return encodeInteger(buffer, at, 0x80, 0x7f, this.#wireIndex(number));
    }
    let nameIndex = known?.index ?? 0;
    if (nameIndex === 0 && entries !== undefined) nameIndex = this.#wireIndex(entries.newest);
    // An entry that takes most of the table would push out all that repeats.
    const insert = indexing === 'table' && fieldBytes(name, value) * 2 <= this.#table.limitBytes;
    let end: number;
    if (insert) end = encodeInteger(buffer, at, 0x40, 0x3f, nameIndex);
    else end = encodeInteger(buffer, at, indexing === 'never' ? 0x10 : 0, 0x0f, nameIndex);
    if (nameIndex === 0) end = encodeString(buffer, end, name);
    end = encodeString(buffer, end, value);
    if (insert) this.#insert(name, value);
    return end;
  }

  #wireIndex(number: number): number {
    return STATIC_ENTRIES + this.#table.inserted - number;
  }

  #insert(name: string, value: string): void {
    this.#table.insert(name, value, true);
    const number = this.#table.inserted - 1;
    this.#entries ??= new Map();
    const entries = this.#entries.get(name);
    if (entries === undefined)
      this.#entries.set(name, { newest: number, numbers: new Map([[value, number]]) });
    else {
      entries.newest = number;
      entries.numbers.set(value, number);
    }
  }

  #forget(name: string, value: string, number: number): void {
    const entries = this.#entries?.get(name);
    if (entries === undefined) return;
    if (entries.numbers.get(value) === number) entries.numbers.delete(value);
    if (entries.numbers.size === 0) this.#entries?.delete(name);
  }

  #announceTableSize(buffer: Buffer, at: number, limitBytes: number): number {
    let end = at;
    if (this.#lowest < limitBytes) end = encodeInteger(buffer, end, 0x20, 0x1f, this.#lowest);
    end = encodeInteger(buffer, end, 0x20, 0x1f, limitBytes);
    this.#announced = limitBytes;
    this.#lowest = limitBytes;
    return end;
  }
}

const none: readonly string[] = [];

/** RFC 7541 section 5.1. */
function encodeInteger(
  buffer: Buffer,
  at: number,
  bits: number,
  mask: number,
  value: number,
): number {
  if (value < mask) {
    buffer[at] = bits | value;
    return at + 1;
  }
  buffer[at] = bits | mask;
  let end = at + 1;
  let rest = value - mask;
  for (; rest >= 0x80; rest >>>= 7) buffer[end++] = 0x80 | (rest & 0x7f);
  buffer[end++] = rest;
  return end;
}

/** RFC 7541 section 5.2; Huffman only where it is shorter. */
function encodeString(buffer: Buffer, at: number, text: string): number {
  const { length } = text;
  const coded = huffmanLength(text);
  if (coded < length)
    return encodeHuffman(buffer, encodeInteger(buffer, at, 0x80, 0x7f, coded), text);
  const end = encodeInteger(buffer, at, 0, 0x7f, length);
  for (let index = 0; index < length; index++) buffer[end + index] = text.charCodeAt(index);
  return end + length;
}
