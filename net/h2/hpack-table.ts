/** The two tables of HPACK. RFC 7541 sections 2.3 and 4, appendix A. */
import { FIELD_OVERHEAD_BYTES } from './limits.ts';

/** Index 1 and on: [name, value]. RFC 7541 appendix A. */
const staticFields: readonly (readonly [string, string])[] = [
  [':authority', ''],
  [':method', 'GET'],
  [':method', 'POST'],
  [':path', '/'],
  [':path', '/index.html'],
  [':scheme', 'http'],
  [':scheme', 'https'],
  ...['200', '204', '206', '304', '400', '404', '500'].map(
    (status) => [':status', status] as const,
  ),
  ['accept-charset', ''],
  ['accept-encoding', 'gzip, deflate'],
  ...[
    'accept-language',
    'accept-ranges',
    'accept',
    'access-control-allow-origin',
    'age',
    'allow',
    'authorization',
    'cache-control',
    'content-disposition',
    'content-encoding',
    'content-language',
    'content-length',
    'content-location',
    'content-range',
    'content-type',
    'cookie',
    'date',
    'etag',
    'expect',
    'expires',
    'from',
    'host',
    'if-match',
    'if-modified-since',
    'if-none-match',
    'if-range',
    'if-unmodified-since',
    'last-modified',
    'link',
    'location',
    'max-forwards',
    'proxy-authenticate',
    'proxy-authorization',
    'range',
    'referer',
    'refresh',
    'retry-after',
    'server',
    'set-cookie',
    'strict-transport-security',
    'transfer-encoding',
    'user-agent',
    'vary',
    'via',
    'www-authenticate',
  ].map((name) => [name, ''] as const),
];

export const STATIC_ENTRIES = staticFields.length;

/** By index; 0 is not an entry. */
export const staticNames: readonly string[] = ['', ...staticFields.map(([name]) => name)];
export const staticValues: readonly string[] = ['', ...staticFields.map(([, value]) => value)];

/** What is known beforehand about a name: its first index in the static table (0: none), the indices by value, and how to send it. */
export type KnownName = Readonly<{
  index: number;
  values: ReadonlyMap<string, number>;
  indexing: 'table' | 'literal' | 'never';
}>;

/** Values that are rarely the same twice: put into the table they would only push out what repeats. */
const changing = [
  ...[':path', 'age', 'content-length', 'content-range', 'etag', 'expires', 'if-match'],
  ...['if-modified-since', 'if-none-match', 'last-modified', 'location', 'range', 'referer'],
  ...['forwarded', 'traceparent', 'tracestate', 'x-forwarded-for', 'x-request-id', 'x-b3-traceid'],
  ...['x-b3-spanid', 'x-b3-parentspanid', 'grpc-timeout', 'set-cookie'],
];
/** Values worth guessing, which a table shared by many requests would give away bit by bit. RFC 7541 section 7.1.3. */
const secret = ['authorization', 'proxy-authorization', 'cookie'];

export const knownNames: ReadonlyMap<string, KnownName> = new Map(
  [...new Set([...staticNames.slice(1), ...changing, ...secret])].map((name) => [
    name,
    {
      index: Math.max(0, staticNames.indexOf(name)),
      values: new Map(
        staticFields.flatMap(([field, value], at) =>
          field === name && value !== '' ? [[value, at + 1] as const] : [],
        ),
      ),
      indexing: secret.includes(name) ? 'never' : changing.includes(name) ? 'literal' : 'table',
    },
  ]),
);

export function fieldBytes(name: string, value: string): number {
  return name.length + value.length + FIELD_OVERHEAD_BYTES;
}

/** Slots of a table when its first entry comes; doubled when full. */
const FIRST_SLOTS = 8;

/**
 * The dynamic table: a ring of entries, the newest first. An entry's number counts the entries ever inserted, from 0;
 * its index on the wire is `STATIC_ENTRIES + inserted - number`.
 */
export class DynamicTable {
  #names: string[] = [];
  #values: string[] = [];
  #valid: boolean[] = [];
  #inserted = 0;
  #evicted = 0;
  #bytes = 0;
  #limitBytes: number;
  readonly #onEvict: ((name: string, value: string, number: number) => void) | undefined;

  /** @param onEvict told of each entry that leaves. */
  constructor(limitBytes: number, onEvict?: (name: string, value: string, number: number) => void) {
    this.#limitBytes = limitBytes;
    this.#onEvict = onEvict;
  }

  /** Entries ever inserted. */
  get inserted(): number {
    return this.#inserted;
  }

  get length(): number {
    return this.#inserted - this.#evicted;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get limitBytes(): number {
    return this.#limitBytes;
  }

  /** Evicts what no longer fits. */
  setLimit(limitBytes: number): void {
    this.#limitBytes = limitBytes;
    this.#evictTo(limitBytes);
  }

  /** An entry larger than the whole table empties it and is not kept. RFC 7541 section 4.4. */
  insert(name: string, value: string, valid: boolean): void {
    const bytes = fieldBytes(name, value);
    this.#evictTo(this.#limitBytes - bytes);
    if (bytes > this.#limitBytes) return;
    if (this.length === this.#names.length) this.#grow();
    const slot = this.#inserted++ & (this.#names.length - 1);
    this.#names[slot] = name;
    this.#values[slot] = value;
    this.#valid[slot] = valid;
    this.#bytes += bytes;
  }

  /** @param age 0 for the newest, less than `length`. */
  nameAt(age: number): string {
    return this.#names[this.#slot(age)] ?? '';
  }

  valueAt(age: number): string {
    return this.#values[this.#slot(age)] ?? '';
  }

  isValidAt(age: number): boolean {
    return this.#valid[this.#slot(age)] ?? false;
  }

  #slot(age: number): number {
    return (this.#inserted - 1 - age) & (this.#names.length - 1);
  }

  #evictTo(bytes: number): void {
    while (this.#bytes > bytes && this.length > 0) {
      const slot = this.#evicted & (this.#names.length - 1);
      const name = this.#names[slot] ?? '';
      const value = this.#values[slot] ?? '';
      this.#names[slot] = '';
      this.#values[slot] = '';
      this.#bytes -= fieldBytes(name, value);
      this.#onEvict?.(name, value, this.#evicted);
      this.#evicted++;
    }
  }

  #grow(): void {
    const { length } = this;
    const names: string[] = [];
    const values: string[] = [];
    const valid: boolean[] = [];
    const slots = Math.max(FIRST_SLOTS, this.#names.length * 2);
    for (let slot = 0; slot < slots; slot++) {
      // An entry with number n stands in slot n mod slots, in the old ring as in the new one.
      const behind = (this.#inserted - 1 - slot) & (slots - 1);
      const held = behind < length;
      names.push(held ? this.nameAt(behind) : '');
      values.push(held ? this.valueAt(behind) : '');
      valid.push(held && this.isValidAt(behind));
    }
    this.#names = names;
    this.#values = values;
    this.#valid = valid;
  }
}
