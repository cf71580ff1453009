import { BreakNotice } from '../break-notice.ts';
import type { ByteSink, SharedBytes } from '../byte-stream.ts';
import { Outlet } from '../outlet.ts';
import { runNextTurn, type TurnTask } from '../reactor.ts';
import type { Http2StreamError } from './errors.ts';
import type { ReceiveWindow } from './flow-control.ts';
import type { HeaderList } from './headers.ts';
import { ReceiveQueue } from './receive-queue.ts';

/** What a stream tells beside its bytes. Every call comes from the reactor; none may throw. */
export interface Http2StreamHandler {
  /** The final response (client). Body bytes go to the stream's sink, also the end that `endStream` announces. */
  onResponse?(headers: HeaderList, endStream: boolean): void;
  /** A 1xx response before it (client). */
  onInformational?(headers: HeaderList): void;
  /** Trailers, after all bytes and before the sink's onEnd(). */
  onTrailers?(headers: HeaderList): void;
  /** The stream broke: told here first, then to the sink if there is one. */
  onError?(error: Http2StreamError): void;
  /** It broke after the peer's end, and bytes before that end still wait: they are delivered first, then onError() is told. */
  onAbandoned?(error: Http2StreamError): void;
}

export interface StreamInputOwner {
  /** The peer gets `increment` more of the stream's window. */
  giveCredit(increment: number): void;
  /** Bytes that came into the receive queue, or went out of it (negative). */
  onQueued(bytes: number): void;
}

/** Queued input that is delivered in one turn, so that one stream does not starve the rest. */
const DELIVERED_PER_TURN = 256 << 10;

/** The receiving half of a stream: bytes to the sink as they come, or into a queue while it takes none; then the end. */
export class StreamInput implements TurnTask {
  handler: Http2StreamHandler | undefined;
  bytesRead = 0;
  readonly #owner: StreamInputOwner;
  readonly #window: ReceiveWindow;
  readonly #outlet = new Outlet();
  #queue: ReceiveQueue | undefined;
  #trailers: HeaderList | undefined;
  #error: Http2StreamError | undefined;
  #notice: BreakNotice<Http2StreamError> | undefined;
  #ended = false;
  #endTold = false;
  #silent = false;
  #taskQueued = false;

  constructor(owner: StreamInputOwner, window: ReceiveWindow, handler?: Http2StreamHandler) {
    this.#owner = owner;
    this.#window = window;
    this.handler = handler;
  }

  get sink(): ByteSink | undefined {
    return this.#outlet.sink;
  }

  /** The peer has sent END_STREAM. */
  get ended(): boolean {
    return this.#ended;
  }

  setSink(sink: ByteSink): void {
    this.#outlet.setSink(sink);
    this.queueTask();
  }

  resume(): void {
    if (this.#outlet.resume() && this.#hasInput()) this.queueTask();
  }

  /** Counts a DATA frame that has begun; false when it exceeds the window. */
  countData(length: number): boolean {
    return this.#window.receive(length);
  }

  /** Credit for what is out of the way. */
  release(bytes: number): void {
    const increment = this.#window.release(bytes, this.#queueLength() === 0);
    if (increment > 0 && !this.#ended) this.#owner.giveCredit(increment);
  }

  /** Payload for the sink, or for the queue. */
  receive(bytes: SharedBytes, offset: number, length: number): void {
    if (this.#silent) return;
    let taken = 0;
    const { sink, paused } = this.#outlet;
    if (sink !== undefined && !paused && this.#queueLength() === 0) {
      taken = this.#outlet.offer(sink, bytes, offset, length);
      this.bytesRead += taken;
      this.release(taken);
      if (taken === length || this.#isSilent()) return;
      this.#pause();
    }
    this.#queue ??= new ReceiveQueue();
    this.#queue.push(bytes, offset + taken, length - taken);
    this.#owner.onQueued(length - taken);
  }

  /** The peer has ended its direction. */
  end(trailers: HeaderList | undefined): void {
    this.#ended = true;
    this.#trailers = trailers;
    if (!this.#silent && this.#queueLength() === 0) this.#tellEnd();
  }

  /**
   * The stream broke. What the peer had ended in order before, and still waits for its sink, is delivered first:
   * a complete response may be followed by RST_STREAM. RFC 9113 section 8.1.
   */
  fail(error: Http2StreamError): void {
    if (this.#silent) return;
    this.#error = error;
    if (!this.#ended) this.#dropQueue();
    if (this.#hasUndelivered()) this.handler?.onAbandoned?.(error);
    else this.#tellError();
  }

  /** Nothing more is told, and what waits is dropped. */
  silence(): void {
    this.#silent = true;
    this.#dropQueue();
    this.#window.retire();
  }

  runTask(): void {
    this.#taskQueued = false;
    if (this.#silent) return;
    this.#deliverQueue();
    if (this.#isSilent() || this.#outlet.paused || this.#queueLength() > 0) return;
    if (this.#ended) this.#tellEnd();
    if (this.#error !== undefined && !this.#hasUndelivered()) this.#tellError();
  }

  /** Something may be due in the next turn. */
  queueTask(): void {
    if (this.#taskQueued || this.#silent) return;
    this.#taskQueued = true;
    runNextTurn(this);
  }

  #deliverQueue(): void {
    const outlet = this.#outlet;
    const { sink } = outlet;
    const queue = this.#queue;
    if (sink === undefined || queue === undefined) return;
    let budget = DELIVERED_PER_TURN;
    for (let head = queue.head(); head !== undefined && !outlet.paused; head = queue.head()) {
      if (budget <= 0 || outlet.sink !== sink) {
        this.queueTask();
        return;
      }
      const length = head.end - head.start;
      const taken = outlet.offer(sink, head.bytes, head.start, length);
      if (this.#isSilent()) return;
      this.bytesRead += taken;
      budget -= length;
      queue.consume(taken);
      this.#owner.onQueued(-taken);
      this.release(taken);
      if (taken < length) {
        this.#pause();
        return;
      }
    }
  }

  /** The sink took less than it was given. Whoever asked meanwhile gets the rest in the next turn. */
  #pause(): void {
    if (!this.#outlet.pause()) this.queueTask();
  }

  #tellEnd(): void {
    if (this.#endTold) return;
    const trailers = this.#trailers;
    this.#trailers = undefined;
    if (trailers !== undefined) this.handler?.onTrailers?.(trailers);
    if (this.#isSilent() || this.#outlet.sink === undefined) return; // setSink() will have it told
    this.#endTold = true;
    this.#window.retire();
    this.#outlet.sink.onEnd();
  }

  #tellError(): void {
    const error = this.#error;
    if (error === undefined) return;
    this.#window.retire();
    this.#notice ??= new BreakNotice(error);
    this.#notice.tell(this.handler, this.#outlet.sink, () => this.#silent);
  }

  #hasInput(): boolean {
    return this.#queueLength() > 0 || (this.#ended && !this.#endTold);
  }

  #hasUndelivered(): boolean {
    return this.#ended && this.#outlet.sink !== undefined && this.#hasInput();
  }

  #queueLength(): number {
    return this.#queue === undefined ? 0 : this.#queue.length;
  }

  /** Behind a call, so that the compiler does not think it knows. */
  #isSilent(): boolean {
    return this.#silent;
  }

  #dropQueue(): void {
    if (this.#queue === undefined) return;
    this.#owner.onQueued(-this.#queue.length);
    this.#queue.clear();
  }
}
