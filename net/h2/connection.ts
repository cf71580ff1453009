import type { ByteStream } from '../byte-stream.ts';
import type { Http2ConnectionHandler } from './connection-handler.ts';
import { NO_ERROR } from './errors.ts';
import type { HeaderList } from './headers.ts';
import { completeOptions, type Http2Options } from './options.ts';
import { Session } from './session.ts';
import type { Http2Stream, SendHeadersOptions } from './stream.ts';
import type { Http2StreamHandler } from './stream-input.ts';

/**
 * An HTTP/2 connection over any ByteStream: a TLS session, a socket, a stream of another connection.
 * It owns the transport from here on, and ends or resets it.
 */
export class Http2Connection {
  readonly #session: Session;

  private constructor(session: Session) {
    this.#session = session;
  }

  /**
   * Begins as a client; requests can be opened at once, also before the transport is connected.
   *
   * @throws {RangeError} for an option that HTTP/2 cannot express.
   */
  static client(
    transport: ByteStream,
    options: Http2Options,
    handler: Http2ConnectionHandler,
  ): Http2Connection {
    const parameters = completeOptions(options, false);
    return new Http2Connection(new Session(transport, false, parameters, handler));
  }

  /** Begins as a server: the handler's onRequest() gets each request. As client() otherwise. */
  static server(
    transport: ByteStream,
    options: Http2Options,
    handler: Http2ConnectionHandler,
  ): Http2Connection {
    const parameters = completeOptions(options, true);
    return new Http2Connection(new Session(transport, true, parameters, handler));
  }

  /** Streams that are open or half-closed. */
  get activeStreams(): number {
    return this.#session.streams.size;
  }

  /** onClose() was called, or is being called. */
  get closed(): boolean {
    return this.#session.closed;
  }

  /** Client: how many more streams could be opened now; 0 after a GOAWAY of either side. */
  availableStreams(): number {
    return this.#session.availableStreams;
  }

  /**
   * Client: whether new streams would wait for long. For `answerPatienceMs` no stream was answered after one was opened, or
   * no byte came after DATA was sent; then the peer was asked by a PING, and has not answered that for longer than this either.
   */
  isUnresponsive(): boolean {
    return this.#session.isUnresponsive();
  }

  /**
   * Client: sends a request.
   *
   * @param headers pseudo-header fields first, names in lower case, for CONNECT `:method` and `:authority` only.
   * @returns undefined when no stream can be opened now (see availableStreams()); nothing was sent then.
   * @throws {MeshError} ERR_HTTP2_HEADERS for an invalid field.
   */
  openStream(
    headers: HeaderList,
    handler: Http2StreamHandler,
    options: SendHeadersOptions = {},
  ): Http2Stream | undefined {
    return this.#session.openStream(headers, handler, options);
  }

  /** No new streams; the running ones go on, and after the last one the connection ends. Idempotent. */
  drain(): void {
    this.#session.drain();
  }

  /** Ends at once: GOAWAY with `code`, then the end of the transport; streams that are open break. Idempotent. */
  close(code = NO_ERROR): void {
    this.#session.close(code);
  }
}
