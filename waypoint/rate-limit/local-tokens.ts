import { giveBackTokens, hasTokens, takeTokens } from './bucket.ts';
import type { BucketTable, KeyedBucket } from './bucket-table.ts';
import { markOf, ProcessBuckets, processTimeNs } from './process-buckets.ts';

/**
 * Takes tokens out of the buckets of local limits. A thread that is alone has them in its tables; where there are several, what
 * counts is in memory that they share, and a table's bucket is a copy of what was seen there last.
 */
export class LocalTokens {
  readonly #process: ProcessBuckets | undefined;

  /** @param memory that all data threads of the process share; `undefined` for the only one. */
  constructor(memory: SharedArrayBuffer | undefined) {
    this.#process = memory && new ProcessBuckets(memory);
  }

  /** Other threads take from the same buckets. */
  get areShared(): boolean {
    return this.#process !== undefined;
  }

  /** Brings a bucket up to what all threads have taken out of it. */
  look(bucket: KeyedBucket, { name, limit }: BucketTable): void {
    if (this.#process === undefined) return;
    if (bucket.mark === 0n) bucket.mark = markOf(name, bucket.key);
    const taken = this.#process.taken(bucket.mark, limit, processTimeNs());
    if (taken !== undefined) bucket.taken = taken;
  }

  /** @returns whether the tokens were there, and are taken. The bucket was looked at before. */
  take(bucket: KeyedBucket, { limit }: BucketTable, cost: number): boolean {
    const has = hasTokens(bucket, limit, cost);
    if (this.#process !== undefined) {
      const taken = this.#process.take(bucket.mark, limit, cost, processTimeNs());
      if (taken === true) takeTokens(bucket, limit, cost);
      if (taken !== undefined) return taken;
      // No room is left in the memory: this thread counts the key by itself.
    }
    if (has) takeTokens(bucket, limit, cost);
    return has;
  }

  /** Undoes take(). */
  giveBack(bucket: KeyedBucket, { limit }: BucketTable, cost: number): void {
    giveBackTokens(bucket, limit, cost);
    this.#process?.giveBack(bucket.mark, limit, cost, processTimeNs());
  }
}
