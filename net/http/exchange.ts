import type { ByteStream } from '../byte-stream.ts';
import type { HeaderList } from '../h2/headers.ts';

/**
 * One HTTP request and its response, over whichever version carries it. HTTP/2's header list is the common form:
 * pseudo-header fields first (`:method :scheme :authority :path`, `:status`), names in lower case, values latin1, without
 * the fields of an HTTP/1.1 connection. So an HTTP/2 stream is an exchange as it is, and HTTP/1.1 is brought into the form.
 *
 * A request that asks to go on with another protocol has `:protocol` among its pseudo-header fields: with `:method CONNECT`
 * when it came by HTTP/2 (RFC 8441), with its own method, GET, when it came by HTTP/1.1. Granted by `:status 200` there and
 * `101` here; from then on the body is the other protocol's bytes, both ways.
 *
 * The body is the ByteStream: the peer's to the sink, ours by write(), then end() or sendTrailers().
 */
export interface HttpExchange extends ByteStream {
  /** Both directions have ended, or the exchange was reset. */
  readonly closed: boolean;
  /** Server: respond() was called. Client: the final response has come. */
  readonly answered: boolean;

  /**
   * Ends this direction with trailers, in the place of end().
   *
   * @returns false when the exchange is closed and nothing was sent.
   * @throws {MeshError} for an invalid field, or before the message has begun.
   */
  sendTrailers(trailers: HeaderList): boolean;

  /** Takes the exchange off what remains of its owner's attention: ends both directions, telling the peer. Idempotent. */
  reset(code?: number): void;
}

/** An exchange that a client began with us. */
export interface ServerExchange extends HttpExchange {
  /** Who hears of trailers and errors; what came before is told in the next turn. */
  setHandler(handler: ExchangeHandler): void;

  /**
   * Sends the response, `:status` first; the body follows by write() and end().
   *
   * @returns false when the exchange is closed and nothing was sent.
   * @throws {MeshError} for an invalid field, or a second response.
   */
  respond(headers: HeaderList, options?: Readonly<{ endStream?: boolean }>): boolean;

  /** Sends a 1xx response, before respond(). As respond() otherwise. */
  sendInformational(headers: HeaderList): boolean;
}

/** An exchange that we began with a server. */
export type ClientExchange = HttpExchange;

/** What an exchange tells beside its bytes. Calls come from the reactor; none may throw. */
export interface ExchangeHandler {
  /** Client: the final response. The body goes to the sink, also the end that `endStream` announces. */
  onResponse?(headers: HeaderList, endStream: boolean): void;
  /** Client: a 1xx response before it. */
  onInformational?(headers: HeaderList): void;
  /** Trailers, after all bytes and before the sink's onEnd(). */
  onTrailers?(trailers: HeaderList): void;
  /** The exchange broke: told here first, then to the sink if there is one. */
  onError?(error: Error): void;
  /**
   * The peer had ended its direction in order and has then reset the exchange, while some of its bytes still wait. They are
   * delivered, and then onError() is told; who has no use for them now resets the exchange.
   */
  onAbandoned?(error: Error): void;
}

/** Requests of one client connection, of either version. */
export interface HttpServerConnection {
  /** Takes no requests but those that the client sent before it could know; those that are here go on. Idempotent. */
  drain(): void;
  /** Ends it with what is on it. */
  close(): void;
}

export interface HttpServerHandler {
  /** A request in order; nothing of it has been judged. Must not throw. */
  onRequest(exchange: ServerExchange, headers: HeaderList, endStream: boolean): void;
  /** The connection is over, and told once; its exchanges have heard of it. Without an error it ended in order. */
  onClose(error?: Error): void;
}

/** A connection to a server, of either version. */
export interface HttpClientConnection {
  /** How many requests it would take now; 0 while busy, draining or closed. */
  availableExchanges(): number;
  /** @returns `undefined` when there is no room. @throws {MeshError} for a head that cannot be sent. */
  open(
    headers: HeaderList,
    endStream: boolean,
    handler: ExchangeHandler,
  ): ClientExchange | undefined;
  /** Takes no further requests; those that are here go on. */
  drain(): void;
  close(): void;
}

export interface HttpClientHandler {
  /** An exchange has ended, or the server allows more of them: there may be room for another one. */
  onAvailable?(): void;
  /** As HttpServerHandler.onClose(). */
  onClose(error?: Error): void;
}
