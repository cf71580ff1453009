import { BatchSender } from './batch-sender.ts';
import type { HttpRequest } from './http-request.ts';
import { isTapped, type TapFilter } from './tap-filter.ts';
import { makeTapRecord, type TappedBatch, type TapRecord } from './tap-record.ts';

type Tap = { readonly filter: TapFilter; readonly sender: BatchSender<TapRecord>; dropped: number };

/** Those who watch the requests of a thread. While nobody does, a request costs one look at an empty list. */
export class Taps {
  readonly #send: (batch: TappedBatch) => Promise<unknown>;
  readonly #taps = new Map<number, Tap>();

  /** @param send settles when the next batch can go. */
  constructor(send: (batch: TappedBatch) => Promise<unknown>) {
    this.#send = send;
  }

  add(id: number, filter: TapFilter): void {
    const tap: Tap = {
      ...{ filter, dropped: 0 },
      sender: new BatchSender(
        (records) => {
          const { dropped } = tap;
          tap.dropped = 0;
          return this.#send({ id, records, dropped });
        },
        (count) => {
          tap.dropped += count;
        },
      ),
    };
    this.#taps.set(id, tap);
  }

  delete(id: number): void {
    this.#taps.delete(id);
  }

  onRequestEnd(request: HttpRequest): void {
    if (this.#taps.size === 0) return;
    let record: TapRecord | undefined;
    for (const { filter, sender } of this.#taps.values()) {
      if (!isTapped(filter, request)) continue;
      record ??= makeTapRecord(request);
      sender.add(record);
    }
  }
}
