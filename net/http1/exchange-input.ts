import type { MeshError } from '../../base/errors.ts';
import { BreakNotice } from '../break-notice.ts';
import type { ByteSink, SharedBytes } from '../byte-stream.ts';
import type { HeaderList } from '../h2/headers.ts';
import type { ExchangeHandler } from '../http/exchange.ts';
import { Outlet } from '../outlet.ts';
import { runNextTurn, type TurnTask } from '../reactor.ts';
import type { BodySink } from './body.ts';

export interface ExchangeInputOwner {
  /** What waits at the source may be wanted now. */
  readMore(): void;
}

/** What a body that nobody wants is read with. */
const DROPPED_BYTES = 64 << 10;

/** The receiving half of an exchange: the body to its sink, then trailers and the end, or an error. Nothing is held here. */
export class ExchangeInput implements BodySink, TurnTask {
  handler: ExchangeHandler | undefined;
  bytesRead = 0;
  readonly #owner: ExchangeInputOwner;
  readonly #outlet = new Outlet();
  #trailers: HeaderList | undefined;
  #error: MeshError | undefined;
  /** Once somebody has been told of the error; what is still read is dropped from then on. */
  #notice: BreakNotice<MeshError> | undefined;
  #ended = false;
  #endTold = false;
  #silent = false;
  #failsLater = false;
  #taskQueued = false;

  constructor(owner: ExchangeInputOwner, handler?: ExchangeHandler) {
    this.#owner = owner;
    this.handler = handler;
  }

  get sink(): ByteSink | undefined {
    return this.#outlet.sink;
  }

  /** The peer's message is whole. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Bytes that come now are taken. */
  get open(): boolean {
    return this.silent || (this.#outlet.sink !== undefined && !this.#outlet.paused);
  }

  /** Nobody hears of it any more. */
  get silent(): boolean {
    return this.#silent || this.#notice !== undefined;
  }

  setHandler(handler: ExchangeHandler): void {
    this.handler = handler;
    if (this.#ended || this.#error !== undefined) this.#queueTask();
  }

  setSink(sink: ByteSink): void {
    this.#outlet.setSink(sink);
    if (this.#ended || this.#error !== undefined) this.#queueTask();
    else this.#owner.readMore();
  }

  resume(): void {
    if (this.#outlet.resume()) this.#owner.readMore();
  }

  /** How many bytes of the body are wanted now; after 0 the owner hears by readMore(). */
  capacity(): number {
    if (this.silent) return DROPPED_BYTES;
    const { sink, paused } = this.#outlet;
    if (sink === undefined || paused) return 0;
    const room = sink.capacity();
    if (room <= 0) this.#outlet.paused = true;
    return Math.max(room, 0);
  }

  onBody(bytes: SharedBytes, offset: number, length: number): number {
    if (this.silent) return length;
    const { sink, paused } = this.#outlet;
    if (sink === undefined || paused) return 0;
    const taken = this.#outlet.offer(sink, bytes, offset, length);
    this.bytesRead += taken;
    if (taken < length) this.#pause();
    return taken;
  }

  /** The peer's message is whole. */
  end(trailers: HeaderList): void {
    this.#ended = true;
    if (trailers.length > 0) this.#trailers = trailers;
    if (this.#notice !== undefined) this.#endTold = true;
    else this.#tellEnd();
  }

  /** The exchange broke. An end that waits for its sink comes first. */
  fail(error: MeshError): void {
    if (this.silent || this.#failsLater) return;
    this.#error ??= error;
    if (!this.#ended || this.#endTold || this.#outlet.sink === undefined) this.#tellError();
  }

  /** As fail(), from inside a call of the user's: told in the next turn. */
  failLater(error: MeshError): void {
    if (this.silent) return;
    this.#error ??= error;
    this.#failsLater = true;
    this.#queueTask();
  }

  /** Nothing more is told. */
  silence(): void {
    this.#silent = true;
  }

  runTask(): void {
    this.#taskQueued = false;
    if (this.#silent) return;
    if (this.#ended) this.#tellEnd();
    if (this.#error !== undefined) this.#tellError();
  }

  /** The sink took less than it was given. Whoever asked meanwhile gets the rest as soon as can be. */
  #pause(): void {
    if (!this.#outlet.pause()) this.#owner.readMore();
  }

  #tellEnd(): void {
    if (this.#silent || this.#endTold) return;
    const trailers = this.#trailers;
    if (trailers !== undefined && this.handler !== undefined) {
      this.#trailers = undefined;
      this.handler.onTrailers?.(trailers);
    }
    if (this.#isSilent() || this.#outlet.sink === undefined) return; // setSink() will have it told
    this.#endTold = true;
    this.#outlet.sink.onEnd();
  }

  #tellError(): void {
    const error = this.#error;
    if (error === undefined || this.#isSilent()) return;
    if (this.handler === undefined && this.#outlet.sink === undefined) return; // told to whom comes
    this.#notice ??= new BreakNotice(error);
    this.#notice.tell(this.handler, this.#outlet.sink, () => this.#silent);
  }

  #queueTask(): void {
    if (this.#taskQueued || this.#silent) return;
    this.#taskQueued = true;
    runNextTurn(this);
  }

  /** Behind a call, so that the compiler does not think it knows. */
  #isSilent(): boolean {
    return this.#silent;
  }
}
