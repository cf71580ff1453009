/**
 * One HTTP/2 stream. RFC 9113 section 5.1, without pushed streams and priorities:
 * ```
 *            send or receive HEADERS
 *    idle ----------------------------> open
 *                                     /  |  \
 *               send END_STREAM (end())  |   receive END_STREAM
 *                           v            |            v
 *              half-closed (local)       |      half-closed (remote)
 *                           \            |            /
 *         receive END_STREAM \      RST_STREAM       / send END_STREAM
 *                             v     either way      v
 *                              ------> closed <------
 * ```
 * `#localEnded` and `input.ended` are the two half-closed states; with both, or after RST_STREAM, the stream has left its
 * connection's table and its slot is free. What the sink has not taken by then is still delivered to it.
 */
import type { BulkQueue } from '../bulk-queue.ts';
import { MeshError } from '../../base/errors.ts';
import type { ByteSink, ByteStream, SharedBytes } from '../byte-stream.ts';
import { CANCEL, type Http2StreamError } from './errors.ts';
import { addCredit, type ReceiveWindow } from './flow-control.ts';
import type { HeaderList } from './headers.ts';
import { checkOutgoing, type Sender, type Waiter } from './sender.ts';
import { type Http2StreamHandler, StreamInput, type StreamInputOwner } from './stream-input.ts';

export type SendHeadersOptions = Readonly<{
  /** The message has no body: the stream's own direction ends with these headers. */
  endStream?: boolean;
  /** Names of secret fields, which no table on the way may keep. */
  neverIndexed?: readonly string[];
}>;

/** What a stream needs of its connection beside the sender. */
export interface StreamOwner {
  readonly isServer: boolean;
  /** Both directions have ended, or the stream was reset. */
  onStreamClosed(stream: Http2Stream): void;
  /** Bytes that came into receive queues, or went out of them (negative). */
  onQueued(bytes: number): void;
}

export class Http2Stream implements ByteStream, Waiter, StreamInputOwner {
  readonly id: number;
  bytesWritten = 0;
  sendTag = 0;
  /** Names of fields in the peer's headers that must never be indexed on the next hop either. RFC 7541 section 6.2.3. */
  neverIndexed: readonly string[] = [];
  /** The connection's: body bytes that the peer's content-length still promises; -1 when it promised nothing. */
  expectedBytes = -1;
  /** The connection's: the method of the request. */
  method = '';
  /** The connection's: a CONNECT that is to be, or was, accepted: DATA is all that it carries. RFC 9113 section 8.5. */
  tunnel = false;
  /** The connection's: 1xx responses so far. */
  informationals = 0;
  /** The connection's to call; users see its effects. */
  readonly input: StreamInput;

  readonly #owner: StreamOwner;
  readonly #sender: Sender;
  #sendWindowBytes: number;
  /** Whether this side's message has begun: a client's request at once, a server's response with respond(). */
  #begun: boolean;
  #answered = false;
  #localEnded = false;
  #closed = false;
  #wantsToWrite = false;
  #waits = false;

  constructor(
    id: number,
    owner: StreamOwner,
    sender: Sender,
    receiveWindow: ReceiveWindow,
    handler?: Http2StreamHandler,
  ) {
    this.id = id;
    this.#owner = owner;
    this.#sender = sender;
    this.input = new StreamInput(this, receiveWindow, handler);
    this.#sendWindowBytes = sender.peer.initialWindowBytes;
    this.#begun = !owner.isServer;
  }

  /** Both directions have ended, or the stream was reset; undelivered input may still be waiting. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Server: respond() was called. Client: the final response has come. */
  get answered(): boolean {
    return this.#answered;
  }

  get bulkQueue(): BulkQueue {
    return this.#sender.bulkQueue;
  }

  get bytesRead(): number {
    return this.input.bytesRead;
  }

  /** Server: who hears of trailers and errors; what came before is told in the next turn. */
  setHandler(handler: Http2StreamHandler): void {
    this.input.handler = handler;
    this.input.queueTask();
  }

  setSink(sink: ByteSink): void {
    this.input.setSink(sink);
  }

  resume(): void {
    this.input.resume();
  }

  /**
   * Server: sends the response; the body follows by write() and end().
   *
   * @returns false when the stream is closed and nothing was sent.
   * @throws {MeshError} ERR_HTTP2_HEADERS for an invalid field, ERR_HTTP2_STATE for a second response.
   */
  respond(headers: HeaderList, options: SendHeadersOptions = {}): boolean {
    if (!this.#owner.isServer || this.#begun) throw wrongState('send a response');
    checkOutgoing(headers);
    if (this.#closed) return false;
    const ends = options.endStream === true;
    this.#begun = true;
    this.#answered = true;
    this.#sender.headers(this.id, headers, ends, options.neverIndexed);
    if (ends) this.#endLocal();
    else if (this.#wantsToWrite) this.#await();
    return true;
  }

  /** Server: sends a 1xx response, before respond(). As respond() otherwise. */
  sendInformational(headers: HeaderList): boolean {
    if (!this.#owner.isServer || this.#begun) throw wrongState('send an informational response');
    checkOutgoing(headers);
    if (this.#closed) return false;
    this.#sender.headers(this.id, headers, false);
    return true;
  }

  /** Ends this direction with trailers, in the place of end(). As respond() otherwise. */
  sendTrailers(headers: HeaderList, options: SendHeadersOptions = {}): boolean {
    if (!this.#begun) throw wrongState('send trailers');
    checkOutgoing(headers);
    if (this.#localEnded || this.#closed) return false;
    this.#sender.headers(this.id, headers, true, options.neverIndexed);
    this.#endLocal();
    return true;
  }

  capacity(): number {
    if (this.#localEnded || this.#closed) return 0;
    const open = this.#begun ? Math.min(this.#sendWindowBytes, this.#sender.capacity()) : 0;
    if (open > 0) return open;
    this.#await();
    return 0;
  }

  write(bytes: SharedBytes, offset: number, length: number): number {
    if (this.#localEnded || this.#closed) return 0;
    let done = 0;
    while (done < length && this.#begun) {
      const open = Math.min(length - done, this.#sendWindowBytes, this.#sender.capacity());
      if (open <= 0) break;
      const sent = this.#sender.data(this, bytes, offset + done, open);
      if (sent === 0) break;
      this.#sendWindowBytes -= sent;
      done += sent;
    }
    this.bytesWritten += done;
    if (done < length) this.#await();
    return done;
  }

  /** A server's stream that was not answered is reset: an end without a response would be none. */
  end(): void {
    if (this.#localEnded || this.#closed) return;
    if (!this.#begun) {
      this.reset();
      return;
    }
    this.#sender.endStream(this.id);
    this.#endLocal();
  }

  /** @param code of the RST_STREAM. */
  reset(code = CANCEL): void {
    this.input.silence();
    if (this.#closed) return;
    this.#sender.rstStream(this.id, code);
    this.#close();
  }

  // What follows is called by the connection and by the stream's own parts.

  /** Client: the request has no body. */
  endWithHeaders(): void {
    this.#endLocal();
  }

  /** END_STREAM came; the connection has checked that it may. */
  receiveEnd(trailers?: HeaderList): void {
    this.input.end(trailers);
    if (this.#localEnded) this.#close();
  }

  receiveResponse(headers: HeaderList, endStream: boolean): void {
    this.#answered = true;
    this.input.handler?.onResponse?.(headers, endStream);
  }

  /** A change of the peer's window for this stream; false when it overflows. */
  addCredit(increment: number): boolean {
    this.#sendWindowBytes = addCredit(this.#sendWindowBytes, increment);
    if (this.#sendWindowBytes === -Infinity) return false;
    if (this.#wantsToWrite) this.#await();
    return true;
  }

  /** The stream broke, by the peer or by its connection. */
  fail(error: Http2StreamError): void {
    this.#close();
    this.input.fail(error);
  }

  giveCredit(increment: number): void {
    if (!this.#closed) this.#sender.windowUpdate(this.id, increment);
  }

  onQueued(bytes: number): void {
    this.#owner.onQueued(bytes);
  }

  /** The connection has room. */
  onTurnToSend(): void {
    this.#waits = false;
    if (!this.#wantsToWrite || this.#sendWindowBytes <= 0 || this.#localEnded || this.#closed)
      return;
    this.#wantsToWrite = false;
    this.input.sink?.onWritable();
  }

  #endLocal(): void {
    this.#localEnded = true;
    this.#wantsToWrite = false;
    if (this.input.ended) this.#close();
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#owner.onStreamClosed(this);
  }

  /** onWritable() is due: when the peer gives the stream credit, or the connection has room. */
  #await(): void {
    this.#wantsToWrite = true;
    if (this.#waits || !this.#begun || this.#sendWindowBytes <= 0) return;
    this.#waits = true;
    this.#sender.wait(this);
  }
}

function wrongState(what: string): MeshError {
  return new MeshError(
    'ERR_HTTP2_STATE',
    'local',
    `Cannot ${what}: this side of the stream is not at that point`,
  );
}
