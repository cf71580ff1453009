import { MeshError } from '../base/errors.ts';
import type { TapFilter } from './tap-filter.ts';
import type { TappedBatch } from './tap-record.ts';

/** All data threads. */
export type TappedThreads = Readonly<{
  tap(id: number, filter: TapFilter): Promise<unknown>;
  untap(id: number): Promise<unknown>;
}>;

type Subscriber = { lines: string[]; dropped: number; wake: () => void };

/** Each has its part of the memory. */
const MAX_SUBSCRIBERS = 16;
const MAX_LINES = 2048;

/** The control thread's side of taps: every subscriber gets the records of all threads, as lines of JSON. */
export class TapStreams {
  readonly #threads: TappedThreads;
  readonly #subscribers = new Map<number, Subscriber>();
  #nextId = 0;

  constructor(threads: TappedThreads) {
    this.#threads = threads;
  }

  /** What a thread has seen. A subscriber that reads too slowly misses some, and is told how many. */
  take({ id, records, dropped }: TappedBatch): void {
    const subscriber = this.#subscribers.get(id);
    if (subscriber === undefined) return;
    subscriber.dropped += dropped;
    for (const record of records)
      if (subscriber.lines.length < MAX_LINES) subscriber.lines.push(`${JSON.stringify(record)}\n`);
      else subscriber.dropped++;
    subscriber.wake();
  }

  /**
   * Lines as they come, until the signal: first `{"tapping":POD}`, as soon as all threads tell.
   *
   * @throws {MeshError} ERR_TAP when there are as many subscribers as there may be.
   */
  async *stream(filter: TapFilter, pod: string, signal: AbortSignal): AsyncGenerator<string> {
    if (this.#subscribers.size >= MAX_SUBSCRIBERS)
      throw new MeshError('ERR_TAP', 'downstream', `Cannot tap: ${MAX_SUBSCRIBERS} others do`);
    const id = this.#nextId++;
    const subscriber: Subscriber = { lines: [], dropped: 0, wake: () => undefined };
    this.#subscribers.set(id, subscriber);
    const onAbort = (): void => {
      subscriber.wake();
    };
    signal.addEventListener('abort', onAbort);
    try {
      await this.#threads.tap(id, filter);
      yield `${JSON.stringify({ tapping: pod })}\n`;
      while (!signal.aborted) {
        if (subscriber.lines.length === 0 && subscriber.dropped === 0) {
          const { promise, resolve } = Promise.withResolvers<undefined>();
          subscriber.wake = () => {
            resolve(undefined);
          };
          await promise;
          continue;
        }
        const { lines, dropped } = subscriber;
        subscriber.lines = [];
        subscriber.dropped = 0;
        yield lines.join('') + (dropped > 0 ? `${JSON.stringify({ dropped })}\n` : '');
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#subscribers.delete(id);
      await this.#threads.untap(id);
    }
  }
}
