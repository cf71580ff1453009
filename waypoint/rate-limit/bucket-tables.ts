import type { TokenLimit } from '../../mesh/model/rate-limit.ts';
import { BucketTable } from './bucket-table.ts';

/**
 * The tables of all rules by what their counters are called: a new configuration goes on counting where the old one was, and
 * rules that share a counter share a table. A table is kept while a configuration uses it or a bucket in it is not full.
 */
export class BucketTables {
  readonly #byCounter = new Map<string, WeakRef<BucketTable>>();
  /** Those with buckets that must not be forgotten. */
  readonly #held = new Set<BucketTable>();

  /** The table of a counter; one of another limit counts anew. */
  table(counter: string, limit: TokenLimit, nowMs: number): BucketTable {
    this.#release(nowMs);
    const { requests, perMs, burst } = limit;
    const name = `${counter} ${requests} ${perMs} ${burst}`;
    const known = this.#byCounter.get(name)?.deref();
    if (known !== undefined) return known;
    const onFirst = (): void => void this.#held.add(made);
    const made: BucketTable = new BucketTable(limit, { name, onFirst });
    this.#byCounter.set(name, new WeakRef(made));
    return made;
  }

  #release(nowMs: number): void {
    for (const table of this.#held) {
      table.sweep(nowMs);
      if (table.size === 0) this.#held.delete(table);
    }
    for (const [name, table] of this.#byCounter)
      if (table.deref() === undefined) this.#byCounter.delete(name);
  }
}
