import type { TokenLimit } from '../../mesh/model/rate-limit.ts';
import { refill, type Bucket } from './bucket.ts';

/** Keys of one rule: about 15 MB with keys of the longest kind. */
const MAX_KEYS = 65_536;
/** Of the keys, those that one client may have brought in: the others' are not for it to use up. */
const MAX_KEYS_PER_CLIENT = MAX_KEYS / 4;
/** Buckets that are looked at for each that is made: two go where one comes, so a table that was full empties again. */
const SWEPT_PER_KEY = 2;
const SWEPT_WHEN_FULL = 16;

/** A bucket of a table. */
export type KeyedBucket = Bucket & {
  readonly key: string;
  /** Where all threads count it; see markOf(). 0 until it is asked for. */
  mark: bigint;
};

type Entry = KeyedBucket & {
  /** Who brought it in. */
  readonly client: string;
  /** In the list of all. */
  index: number;
};

export type BucketTableOptions = Readonly<{
  name?: string;
  maxKeys?: number;
  maxKeysPerClient?: number;
  /** The table holds what must not be forgotten. */
  onFirst?: () => void;
}>;

/**
 * The buckets of one rule. A bucket is forgotten when it is full again, for then it is what a new one would be; never
 * earlier, so that nobody gets tokens back by bringing in other keys. Keys for which there is no room share buckets: one for
 * each client that has brought in its share, and one for all that come when the table is full.
 */
export class BucketTable {
  /** The same in all threads, and of no other table. */
  readonly name: string;
  readonly limit: TokenLimit;
  readonly #maxKeys: number;
  readonly #maxKeysPerClient: number;
  readonly #onFirst: () => void;
  readonly #byKey = new Map<string, Entry>();
  readonly #all: Entry[] = [];
  readonly #keysOf = new Map<string, number>();
  #hand = 0;

  constructor(limit: TokenLimit, options: BucketTableOptions = {}) {
    this.name = options.name ?? '';
    this.limit = limit;
    this.#maxKeys = options.maxKeys ?? MAX_KEYS;
    this.#maxKeysPerClient = options.maxKeysPerClient ?? MAX_KEYS_PER_CLIENT;
    this.#onFirst = options.onFirst ?? (() => undefined);
  }

  get size(): number {
    return this.#all.length;
  }

  /**
   * The bucket of a key, refilled.
   *
   * @param key not beginning with a space, which is for shared buckets.
   * @param client who would bring the key in.
   */
  find(key: string, client: string, nowMs: number): KeyedBucket {
    const entry = this.#byKey.get(key) ?? this.#add(key, client, nowMs);
    refill(entry, this.limit, nowMs);
    return entry;
  }

  /** Forgets every bucket that is full again. */
  sweep(nowMs: number): void {
    this.#hand = 0;
    this.#sweep(this.#all.length, nowMs);
  }

  #add(key: string, client: string, nowMs: number): Entry {
    const isFull = this.#all.length >= this.#maxKeys;
    this.#sweep(isFull ? SWEPT_WHEN_FULL : SWEPT_PER_KEY, nowMs);
    if (this.#all.length >= this.#maxKeys) return this.#shared(' ', nowMs);
    const brought = this.#keysOf.get(client) ?? 0;
    if (brought >= this.#maxKeysPerClient) return this.#shared(` ${client}`, nowMs);
    return this.#insert(key, client, nowMs);
  }

  /** These come on top of the bound, one for each client that fills its share: few can. */
  #shared(key: string, nowMs: number): Entry {
    return this.#byKey.get(key) ?? this.#insert(key, ' ', nowMs);
  }

  #insert(key: string, client: string, nowMs: number): Entry {
    if (this.#all.length === 0) this.#onFirst();
    const index = this.#all.length;
    const entry: Entry = { taken: 0, atMs: nowMs, key, client, index, mark: 0n };
    this.#byKey.set(key, entry);
    this.#all.push(entry);
    this.#keysOf.set(client, (this.#keysOf.get(client) ?? 0) + 1);
    return entry;
  }

  #sweep(count: number, nowMs: number): void {
    for (let looked = 0; looked < count && this.#all.length > 0; looked++) {
      // Downwards: what takes the place of one that goes comes from the end, where it was looked at before or is new.
      if (this.#hand === 0) this.#hand = this.#all.length;
      const entry = this.#all[--this.#hand];
      if (entry === undefined) return;
      refill(entry, this.limit, nowMs);
      if (entry.taken === 0) this.#forget(entry);
    }
  }

  #forget(entry: Entry): void {
    this.#byKey.delete(entry.key);
    const last = this.#all.pop();
    if (last !== undefined && last !== entry) {
      this.#all[entry.index] = last;
      last.index = entry.index;
    }
    this.#hand = Math.min(this.#hand, this.#all.length);
    const left = (this.#keysOf.get(entry.client) ?? 0) - 1;
    if (left > 0) this.#keysOf.set(entry.client, left);
    else this.#keysOf.delete(entry.client);
  }
}
