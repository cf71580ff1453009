import type { ByteSink, SharedBytes } from './byte-stream.ts';
import { Remainder } from './remainder.ts';

/**
 * Where a source hands its input, and whether it may now: a sink that took less than it was given, or had no capacity, is
 * paused until it asks for more. It may ask while it takes, ahead of that; then it gets the rest in the next turn.
 */
export class Outlet {
  sink: ByteSink | undefined;
  /** The sink takes nothing until it asks for more. */
  paused = false;
  /** While the sink was given something, it asked for more, or another one took its place. */
  #asked = false;
  /** Given by deliver(), and not taken. */
  #rest: Remainder | undefined;
  /** What broke the source while there was no sink. */
  #untold: Error | undefined;

  /** The sink before has no part in what comes; this one gets it from the next turn on. */
  setSink(sink: ByteSink): void {
    this.sink = sink;
    this.paused = false;
    this.#asked = true;
  }

  /** The sink asks for more; true when it had been paused. */
  resume(): boolean {
    this.#asked = true;
    if (!this.paused) return false;
    this.paused = false;
    return true;
  }

  /** The sink took less than it was given. True: it is paused; false: it asked meanwhile, and gets the rest in the next turn. */
  pause(): boolean {
    if (!this.#asked) this.paused = true;
    return !this.#asked;
  }

  /** Gives the sink what it takes; after less than `length` comes pause(). */
  offer(sink: ByteSink, bytes: SharedBytes, offset: number, length: number): number {
    this.#asked = false;
    return sink.onData(bytes, offset, length);
  }

  /** Something that deliver() gave has not been taken. */
  get holdsRest(): boolean {
    return this.#rest !== undefined;
  }

  /** As offer(), and what is not taken is kept: then deliverRest() comes first. */
  deliver(sink: ByteSink, bytes: SharedBytes, offset: number, length: number): void {
    const taken = this.offer(sink, bytes, offset, length);
    if (taken < length) this.#rest = new Remainder(bytes.buffer, offset + taken, length - taken);
  }

  /** True when nothing was left to be taken, or now it has been. */
  deliverRest(sink: ByteSink): boolean {
    const rest = this.#rest;
    if (rest === undefined) return true;
    if (!rest.consume(this.offer(sink, rest.bytes, rest.offset, rest.length))) return false;
    this.#rest = undefined;
    return true;
  }

  dropRest(): void {
    this.#rest = undefined;
  }

  /** The source broke: told to the sink, or kept for the one that is set later. */
  tellBroken(error: Error): void {
    if (this.sink === undefined) this.#untold = error;
    else this.sink.onError(error);
  }

  /** A break waits for a sink to be told to; then comes tellLate(), in a later turn. */
  get holdsBreak(): boolean {
    return this.#untold !== undefined;
  }

  tellLate(): void {
    const error = this.#untold;
    if (error === undefined || this.sink === undefined) return;
    this.#untold = undefined;
    this.sink.onError(error);
  }

  /** Behind a reset nothing is told any more. */
  dropBreak(): void {
    this.#untold = undefined;
  }
}
