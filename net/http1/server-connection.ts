import type { MeshError } from '../../base/errors.ts';
import type { ByteSink, ByteStream, SharedBytes } from '../byte-stream.ts';
import { Deadline } from '../deadline.ts';
import type { HttpServerConnection, HttpServerHandler } from '../http/exchange.ts';
import { Channel, type ChannelOwner } from './channel.ts';
import { Http1ExchangeError, type Http1Violation, http1ConnectionError } from './errors.ts';
import { NO_BODY, UNTIL_CLOSE } from './framing.ts';
import { requestList } from './header-list.ts';
import {
  DRAIN_MS,
  DRAINED_BODY_BYTES,
  LAST_REQUEST_MS,
  LINGER_MS,
  PIPELINED_BYTES,
} from './limits.ts';
import type { MessageWriter } from './message-writer.ts';
import { completeOptions, type Http1Options, type Http1Parameters } from './options.ts';
import { type RequestHead, RequestParser } from './parse.ts';
import { composeResponseHead } from './serialize.ts';
import { Http1ServerExchange, type ServerExchangeOwner } from './server-exchange.ts';

const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';
/** An upgrade is granted with the name that was asked for: one token, and the version that may stand behind it. */
const PROTOCOL = /^[!#$%&'*+.^_`|~\w-]+(?:\/[!#$%&'*+.^_`|~\w-]+)?$/;
const NONE_SENT = { processed: true, keepAliveRace: false } as const;

/**
 * The requests of one HTTP/1.1 connection, one after another: the next one is read when the one before is answered.
 * ```
 *   head --> body --> answer --> head ...       request and answer both whole, and both sides would go on
 *               \        `--> end               `connection: close` was said, by either side
 *                `--> refused (400, 408, ...) --> end, while the answer has not begun; otherwise reset
 * ```
 */
export class Http1ServerConnection
  implements HttpServerConnection, ChannelOwner, ServerExchangeOwner
{
  readonly writer: MessageWriter;
  readonly #channel: Channel;
  readonly #parser: RequestParser;
  readonly #parameters: Http1Parameters;
  readonly #handler: HttpServerHandler;
  /** For what the client is to send next. */
  readonly #deadline: Deadline;
  #exchange: Http1ServerExchange | undefined;
  /** The deadline is for the head that is being read. */
  #headBegun = false;
  #draining = false;
  #closed = false;
  /** Of the body of a request that was answered before. */
  #drainedBytes = 0;

  constructor(transport: ByteStream, options: Http1Options, handler: HttpServerHandler) {
    const parameters = completeOptions(options);
    this.#parameters = parameters;
    this.#handler = handler;
    this.#parser = new RequestParser(parameters.limits, parameters.scheme);
    this.#channel = new Channel(transport, parameters, this);
    this.writer = this.#channel.writer;
    this.#deadline = new Deadline(parameters.clock, () => {
      this.#onTimeout();
    });
    this.#deadline.set(parameters.idleTimeoutMs);
    this.#channel.begin();
  }

  /** The transport's sink, for whoever has read from it before. */
  get sink(): ByteSink {
    return this.#channel;
  }

  drain(): void {
    if (this.#closed || this.#draining) return;
    this.#draining = true;
    // The client cannot know yet: ended now, its next request would be lost, or met by a reset.
    if (this.#exchange === undefined && !this.#parser.begun) this.#deadline.set(LAST_REQUEST_MS);
  }

  close(): void {
    if (this.#closed) return;
    const idle = this.#exchange === undefined;
    this.#settle(http1ConnectionError('local', 'closed by this side'));
    if (idle) this.#channel.end(LINGER_MS);
    else this.#channel.reset();
  }

  // What its exchange asks for.

  get endsAfterAnswer(): boolean {
    return this.#draining || this.#channel.peerEnded;
  }

  readMore(): void {
    const exchange = this.#exchange;
    if (exchange === undefined || this.#closed) return;
    if (!exchange.input.ended && !exchange.outputEnded && exchange.upgrade === '') {
      if (exchange.input.open) this.#deadline.set(this.#parameters.bodyTimeoutMs);
      this.#askForBody(exchange);
    }
    this.#channel.readMore();
  }

  onUpgraded(): void {
    this.#deadline.clear();
    this.#channel.body.begin(UNTIL_CLOSE);
    if (this.#channel.peerEnded) this.#exchange?.input.end([]);
    else this.#channel.readMore();
  }

  onOutputEnd(): void {
    const exchange = this.#exchange;
    if (exchange === undefined) return;
    if (exchange.upgraded) this.#channel.endOutput();
    if (exchange.input.ended) this.#finish(exchange);
    else if (!exchange.upgraded && !this.#channel.body.done) this.#onEarlyAnswer(exchange);
    else if (!exchange.upgraded && exchange.upgrade !== '') this.#onRequestEnd(exchange);
  }

  onExchangeReset(): void {
    const exchange = this.#exchange;
    if (exchange?.outputEnded === true) {
      this.readMore(); // its body is read and dropped, and then the next request
      return;
    }
    this.#breakOff(http1ConnectionError('local', 'an exchange was reset'));
  }

  onOutputBroken(found: string): void {
    const error = exchangeError('local', found);
    this.#exchange?.input.failLater(error);
    this.#breakOff(error);
  }

  // What its channel tells.

  capacity(): number {
    const exchange = this.#exchange;
    if (exchange === undefined) return this.#parameters.limits.headBytes;
    if (this.#waitsForAnswer(exchange)) return PIPELINED_BYTES;
    const room = exchange.input.capacity();
    // It is we who keep the client waiting.
    if (room === 0 && !exchange.outputEnded) this.#deadline.clear();
    return room;
  }

  read(bytes: SharedBytes, at: number, end: number): number {
    const exchange = this.#exchange;
    if (exchange === undefined) return this.#readHead(bytes, at, end);
    if (this.#waitsForAnswer(exchange)) return 0;
    const { body } = this.#channel;
    const taken = body.read(bytes, at, end, exchange.input);
    if (taken > 0) exchange.awaitsContinue = false;
    if (body.done) this.#onRequestEnd(exchange);
    else if (exchange.outputEnded && exchange.input.silent) this.#countDrained(taken);
    return taken;
  }

  onRead(): void {
    const exchange = this.#exchange;
    if (exchange === undefined) {
      // A head that comes whole needs no deadline of its own.
      if (this.#parser.begun && !this.#headBegun) {
        this.#headBegun = true;
        this.#deadline.set(this.#parameters.headTimeoutMs);
      }
    } else if (!exchange.outputEnded && exchange.upgrade === '' && !exchange.input.ended) {
      if (exchange.input.open) this.#deadline.set(this.#parameters.bodyTimeoutMs);
      else this.#deadline.clear();
    }
  }

  onViolation(violation: Http1Violation): void {
    this.#refuse(violation.status, `it sent ${violation.fault}`, { cause: violation });
  }

  onPeerEnd(): void {
    const exchange = this.#exchange;
    if (exchange === undefined) {
      if (this.#parser.begun) this.#refuse(400, 'it ended amid a head');
      else this.#endInOrder(undefined, LINGER_MS);
    } else if (exchange.upgraded) this.#onRequestEnd(exchange);
    else if (!exchange.input.ended && exchange.upgrade === '') {
      if (exchange.outputEnded) this.#endInOrder(exchangeError('downstream', 'it ended its body'));
      else this.#refuse(400, 'it ended amid a body');
    }
    // Otherwise it has said all that it wanted, and waits for the answer.
  }

  onBroken(cause: Error): void {
    this.#settle(exchangeError('downstream', 'the transport broke', { cause }));
  }

  onStalled(): void {
    this.#breakOff(exchangeError('downstream', 'it reads nothing'));
  }

  onRoom(): void {
    this.#exchange?.onRoom();
  }

  #readHead(bytes: SharedBytes, at: number, end: number): number {
    const taken = this.#parser.read(bytes, at, end);
    const { head } = this.#parser;
    if (head === undefined) return taken;
    this.#parser.forget();
    this.#onHead(head);
    return taken;
  }

  #onHead(head: RequestHead): void {
    this.#headBegun = false;
    this.#deadline.clear();
    if (head.minor === 0 && !this.#parameters.allowHttp10) {
      this.#refuse(426, 'it speaks HTTP/1.0');
      return;
    }
    if (head.method === 'CONNECT') {
      this.#refuse(405, 'it sent CONNECT');
      return;
    }
    const upgrade = head.upgrade !== '' && PROTOCOL.test(head.upgrade) ? head.upgrade : '';
    const exchange = new Http1ServerExchange(this, head, upgrade);
    this.#exchange = exchange;
    this.#channel.body.begin(head.body);
    const ends = head.body === NO_BODY && upgrade === '';
    const list = requestList(head, this.#parameters.scheme, upgrade);
    this.#handler.onRequest(exchange, list, ends);
    if (exchange.closed) return;
    if (ends) this.#onRequestEnd(exchange);
    else this.#askForBody(exchange);
  }

  /** The request is whole, or the client's side of an upgraded connection has ended. */
  #onRequestEnd(exchange: Http1ServerExchange): void {
    this.#deadline.clear();
    exchange.awaitsContinue = false;
    exchange.input.end(this.#channel.body.trailers);
    if (exchange.outputEnded && !exchange.closed) this.#finish(exchange);
  }

  /** Asks the client for the body that it holds back, once somebody wants to read it. RFC 9110 section 10.1.1. */
  #askForBody(exchange: Http1ServerExchange): void {
    if (!exchange.awaitsContinue || exchange.begun || exchange.input.capacity() === 0) return;
    exchange.awaitsContinue = false;
    this.writer.text(CONTINUE);
  }

  /** Between a request and its answer: what comes then is of the next request, or of the protocol that was asked for. */
  #waitsForAnswer(exchange: Http1ServerExchange): boolean {
    return exchange.input.ended || (exchange.upgrade !== '' && !exchange.upgraded);
  }

  /** The answer is whole before the request is. */
  #onEarlyAnswer(exchange: Http1ServerExchange): void {
    if (exchange.last) {
      this.#endInOrder(exchangeError('local', 'it was answered before it was whole'));
      return;
    }
    if (exchange.input.sink === undefined) exchange.input.silence();
    this.#deadline.set(DRAIN_MS);
    this.#channel.readMore();
  }

  #countDrained(bytes: number): void {
    this.#drainedBytes += bytes;
    if (this.#drainedBytes > DRAINED_BODY_BYTES) this.#endInOrder();
  }

  /** Request and answer are whole. */
  #finish(exchange: Http1ServerExchange): void {
    exchange.closed = true;
    this.#exchange = undefined;
    this.#drainedBytes = 0;
    if (exchange.last || this.#draining || this.#channel.peerEnded) this.#endInOrder();
    else {
      this.#deadline.set(this.#parameters.idleTimeoutMs);
      this.#channel.readMore();
    }
  }

  #onTimeout(): void {
    const exchange = this.#exchange;
    if (exchange === undefined) {
      if (this.#parser.begun) this.#refuse(408, 'no whole head in time');
      else this.#endInOrder();
    } else if (exchange.outputEnded)
      this.#endInOrder(exchangeError('downstream', 'no whole body in time'));
    else this.#refuse(408, 'no body in time');
  }

  /** Says so where an answer can still be given; what is on the way cannot be understood, or is not wanted. */
  #refuse(status: number, found: string, options?: ErrorOptions): void {
    if (this.#closed) return;
    const exchange = this.#exchange;
    this.#settle(exchangeError('downstream', found, options));
    if (exchange?.begun === true && !exchange.outputEnded) {
      this.#channel.reset();
      return;
    }
    if (exchange?.begun !== true) {
      const connection = status === 426 ? { close: true, upgrade: 'HTTP/1.1' } : { close: true };
      this.writer.head(
        composeResponseHead({ method: 'GET', minor: 1 }, status, [], 0, true, connection),
      );
    }
    this.#channel.end(LINGER_MS);
  }

  #endInOrder(error?: MeshError, lingerMs = DRAIN_MS): void {
    if (this.#closed) return;
    this.#settle(error);
    this.#channel.end(lingerMs);
  }

  #breakOff(error: MeshError): void {
    if (this.#closed) return;
    this.#settle(error);
    this.#channel.reset();
  }

  /** The state after which nothing happens any more; exchange and owner are told. */
  #settle(error: MeshError | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#deadline.stop();
    const exchange = this.#exchange;
    this.#exchange = undefined;
    if (exchange !== undefined) {
      exchange.closed = true;
      exchange.input.fail(error ?? exchangeError('local', 'its connection ended'));
    }
    this.#handler.onClose(error);
  }
}

function exchangeError(
  side: 'downstream' | 'local',
  found: string,
  options?: ErrorOptions,
): Http1ExchangeError {
  return new Http1ExchangeError(side, found, NONE_SENT, options);
}
