import { COMPRESSION_ERROR, Http2Violation } from './errors.ts';
import { isValidField } from './headers.ts';
import {
  DynamicTable,
  fieldBytes,
  STATIC_ENTRIES,
  staticNames,
  staticValues,
} from './hpack-table.ts';
import { decodeHuffman } from './huffman.ts';
import { INITIAL_HEADER_TABLE_BYTES } from './limits.ts';

/** Continuation bytes of an integer that are read: 28 bits, more than any length or index here can be. */
const INTEGER_CONTINUATIONS = 4;

/**
 * Decodes the header blocks of one direction of a connection. RFC 7541.
 *
 * A list that is too large or malformed is still decoded to its end, because the table is shared by all streams; it is
 * then not collected, only told by `oversized` and `malformed`.
 */
export class HpackDecoder {
  /** Of the block decoded last: its decoded size went beyond the limit, so that the list is not whole. */
  oversized = false;
  /** Of the block decoded last: a field is invalid (isValidField()). */
  malformed = false;
  /** Of the block decoded last: names of fields that must never enter a table, on the next hop neither. RFC 7541 section 6.2.3. */
  neverIndexed: readonly string[] = none;
  readonly #table: DynamicTable;
  /** The most that the peer may choose for the table: what our SETTINGS allow. */
  #allowedTableBytes = INITIAL_HEADER_TABLE_BYTES;
  /** Our SETTINGS lowered the size: the next block must begin by following. RFC 7541 section 4.2. */
  #updateDue = false;
  #at = 0;
  #end = 0;

  constructor() {
    this.#table = new DynamicTable(INITIAL_HEADER_TABLE_BYTES);
  }

  /** What our acknowledged SETTINGS allow from now on. */
  setAllowedTableBytes(bytes: number): void {
    this.#allowedTableBytes = bytes;
    this.#updateDue = bytes < this.#table.limitBytes;
  }

  /**
   * Decodes one whole header block.
   *
   * @param maxListBytes limit of the decoded size, with 32 bytes a field.
   * @throws {Http2Violation} COMPRESSION_ERROR; the connection cannot go on.
   */
  decode(buffer: Buffer, at: number, length: number, maxListBytes: number): string[] {
    const headers: string[] = [];
    this.oversized = false;
    this.malformed = false;
    this.neverIndexed = none;
    this.#at = at;
    this.#end = at + length;
    let left = maxListBytes;
    let updatesAllowed = true;
    while (this.#at < this.#end) {
      const first = buffer[this.#at] ?? 0;
      if ((first & 0xe0) === 0x20) {
        if (!updatesAllowed) throw broken('a table size update after the first field');
        this.#updateTableSize(buffer);
        continue;
      }
      if (updatesAllowed && this.#updateDue) throw broken('no table size update after SETTINGS');
      updatesAllowed = false;
      let name: string;
      let value: string;
      let valid = true;
      if (first >= 0x80) {
        const index = this.#integer(buffer, 0x7f);
        const age = this.#check(index);
        name = age < 0 ? (staticNames[index] ?? '') : this.#table.nameAt(age);
        value = age < 0 ? (staticValues[index] ?? '') : this.#table.valueAt(age);
        valid = age < 0 ? (staticValid[index] ?? false) : this.#table.isValidAt(age);
      } else {
        const indexed = first >= 0x40;
        const index = this.#integer(buffer, indexed ? 0x3f : 0x0f);
        name = index === 0 ? this.#string(buffer) : this.#name(index);
        value = this.#string(buffer);
        valid = isValidField(name, value);
        if (indexed) this.#table.insert(name, value, valid);
        else if (first >= 0x10) this.neverIndexed = [...this.neverIndexed, name];
      }
      left -= fieldBytes(name, value);
      if (left < 0) this.oversized = true;
      else headers.push(name, value);
      if (!valid) this.malformed = true;
    }
    return headers;
  }

  /** Checks an index; returns the age in the dynamic table, or -1 for the static one. */
  #check(index: number): number {
    if (index === 0) throw broken('index 0');
    const age = index - STATIC_ENTRIES - 1;
    if (age >= this.#table.length) throw broken(`index ${index}, which no table has`);
    return Math.max(age, -1);
  }

  #name(index: number): string {
    const age = this.#check(index);
    return age < 0 ? (staticNames[index] ?? '') : this.#table.nameAt(age);
  }

  #updateTableSize(buffer: Buffer): void {
    const bytes = this.#integer(buffer, 0x1f);
    if (bytes > this.#allowedTableBytes)
      throw broken(`a table size of ${bytes}, where ${this.#allowedTableBytes} is allowed`);
    this.#table.setLimit(bytes);
    this.#updateDue = false;
  }

  /** RFC 7541 section 5.1; `mask` covers the prefix of the byte at hand. */
  #integer(buffer: Buffer, mask: number): number {
    const prefix = (buffer[this.#at++] ?? 0) & mask;
    if (prefix < mask) return prefix;
    let value = mask;
    for (let index = 0; index < INTEGER_CONTINUATIONS; index++) {
      if (this.#at >= this.#end) throw broken('a block that ends inside an integer');
      const byte = buffer[this.#at++] ?? 0;
      value += (byte & 0x7f) << (index * 7);
      if (byte < 0x80) return value;
    }
    throw broken('an integer beyond 28 bits');
  }

  /** RFC 7541 section 5.2. */
  #string(buffer: Buffer): string {
    if (this.#at >= this.#end) throw broken('a block that ends before a string');
    const huffman = (buffer[this.#at] ?? 0) >= 0x80;
    const length = this.#integer(buffer, 0x7f);
    const at = this.#at;
    if (length > this.#end - at) throw broken('a block that ends inside a string');
    this.#at = at + length;
    if (length === 0) return '';
    return huffman ? decodeHuffman(buffer, at, length) : buffer.toString('latin1', at, at + length);
  }
}

const none: readonly string[] = [];

/** By index: all but `transfer-encoding`. */
const staticValid = staticNames.map((name, index) => isValidField(name, staticValues[index] ?? ''));

function broken(found: string): Http2Violation {
  return new Http2Violation(COMPRESSION_ERROR, found);
}
