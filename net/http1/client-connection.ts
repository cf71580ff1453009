import type { MeshError, Side } from '../../base/errors.ts';
import type { ByteStream, SharedBytes } from '../byte-stream.ts';
import { Deadline } from '../deadline.ts';
import type { HeaderList } from '../h2/headers.ts';
import type {
  ClientExchange,
  ExchangeHandler,
  HttpClientConnection,
  HttpClientHandler,
} from '../http/exchange.ts';
import { Channel, type ChannelOwner } from './channel.ts';
import { Http1ClientExchange } from './client-exchange.ts';
import { Http1ExchangeError, Http1Violation, http1ConnectionError } from './errors.ts';
import type { ExchangeOwner } from './exchange.ts';
import { UNTIL_CLOSE } from './framing.ts';
import { composeRequestList, responseList } from './header-list.ts';
import { INFORMATIONALS_PER_REQUEST, LINGER_MS, PIPELINED_BYTES } from './limits.ts';
import type { MessageWriter } from './message-writer.ts';
import { completeOptions, type Http1Options, type Http1Parameters } from './options.ts';
import { type ResponseHead, ResponseParser } from './parse.ts';

const CONTINUE = 100;
const SWITCHING = 101;

/**
 * One HTTP/1.1 connection to a server, with one exchange at a time. It serves another one only when request and response
 * are whole and neither side has said that it ends.
 */
export class Http1ClientConnection implements HttpClientConnection, ChannelOwner, ExchangeOwner {
  readonly writer: MessageWriter;
  readonly #channel: Channel;
  readonly #parser: ResponseParser;
  readonly #parameters: Http1Parameters;
  readonly #handler: HttpClientHandler;
  readonly #idleDeadline: Deadline;
  #exchange: Http1ClientExchange | undefined;
  /** The final response's head is to come. */
  #inHead = true;
  /** The response is whole, or the server's side of an upgraded connection has ended. */
  #responseWhole = false;
  #persistent = true;
  #served = false;
  #draining = false;
  #closed = false;

  constructor(transport: ByteStream, options: Http1Options, handler: HttpClientHandler) {
    const parameters = completeOptions(options);
    this.#parameters = parameters;
    this.#handler = handler;
    this.#parser = new ResponseParser(parameters.limits);
    this.#channel = new Channel(transport, parameters, this);
    this.writer = this.#channel.writer;
    this.#idleDeadline = new Deadline(parameters.clock, () => {
      this.drain();
    });
    this.#idleDeadline.set(parameters.idleTimeoutMs);
    this.#channel.begin();
  }

  availableExchanges(): number {
    return this.#closed || this.#draining || this.#exchange !== undefined ? 0 : 1;
  }

  open(
    headers: HeaderList,
    endStream: boolean,
    handler: ExchangeHandler,
  ): ClientExchange | undefined {
    const request = composeRequestList(headers, endStream);
    if (this.availableExchanges() === 0) return undefined;
    const bytesBefore = this.#channel.bytesWritten;
    this.writer.head(request);
    this.#idleDeadline.clear();
    this.#inHead = true;
    this.#responseWhole = false;
    this.#persistent = true;
    const exchange = new Http1ClientExchange(this, request, handler, bytesBefore);
    this.#exchange = exchange;
    exchange.begun = true;
    exchange.outputEnded = endStream && request.upgrade === '';
    exchange.held = request.upgrade !== '' || request.expectsContinue;
    if (request.expectsContinue)
      exchange.cancelHold = this.#parameters.clock.after(this.#parameters.continueTimeoutMs, () => {
        exchange.release();
      });
    return exchange;
  }

  drain(): void {
    if (this.#closed) return;
    this.#draining = true;
    if (this.#exchange === undefined) this.#endInOrder();
  }

  close(): void {
    if (this.#closed) return;
    const idle = this.#exchange === undefined;
    this.#settle('local', 'closed by this side');
    if (idle) this.#channel.end(LINGER_MS);
    else this.#channel.reset();
  }

  // What its exchange asks for.

  readMore(): void {
    this.#channel.readMore();
  }

  onOutputEnd(): void {
    const exchange = this.#exchange;
    if (exchange === undefined) return;
    if (exchange.upgraded) this.#channel.endOutput();
    if (this.#responseWhole) this.#finish(exchange);
  }

  onExchangeReset(): void {
    this.#breakOff('local', 'it was reset by this side');
  }

  onOutputBroken(found: string): void {
    const exchange = this.#exchange;
    exchange?.input.failLater(this.#exchangeError(exchange, 'local', found));
    this.#breakOff('local', found);
  }

  // What its channel tells.

  capacity(): number {
    const exchange = this.#exchange;
    if (exchange === undefined || this.#responseWhole) return PIPELINED_BYTES;
    return this.#inHead ? this.#parameters.limits.headBytes : exchange.input.capacity();
  }

  read(bytes: SharedBytes, at: number, end: number): number {
    const exchange = this.#exchange;
    if (exchange === undefined || this.#responseWhole) throw new Http1Violation('unasked-response');
    exchange.answerBegun = true;
    if (this.#inHead) return this.#readHead(exchange, bytes, at, end);
    const { body } = this.#channel;
    const taken = body.read(bytes, at, end, exchange.input);
    if (body.done) this.#onResponseEnd(exchange);
    return taken;
  }

  onRead(): void {
    // Whoever waits for the response has a deadline for it.
  }

  onViolation(violation: Http1Violation): void {
    this.#breakOff('upstream', `the server sent ${violation.fault}`, { cause: violation });
  }

  onPeerEnd(): void {
    const exchange = this.#exchange;
    if (exchange === undefined) this.#endInOrder();
    else if (!this.#inHead && this.#channel.body.untilClose) this.#onResponseEnd(exchange);
    else
      this.#breakOff('upstream', 'the server ended the connection before its response was whole');
  }

  onBroken(cause: Error): void {
    this.#settle('upstream', 'the transport broke', { cause });
  }

  onStalled(): void {
    this.#breakOff('upstream', 'the server reads nothing');
  }

  onRoom(): void {
    this.#exchange?.onRoom();
  }

  #readHead(exchange: Http1ClientExchange, bytes: SharedBytes, at: number, end: number): number {
    const asksUpgrade = exchange.upgrade !== '';
    const taken = this.#parser.read(bytes, at, end, exchange.method, asksUpgrade);
    const { head } = this.#parser;
    if (head === undefined) return taken;
    this.#parser.forget();
    if (head.status === SWITCHING) this.#onUpgraded(exchange, head);
    else if (head.status < 200) onInformational(exchange, head);
    else this.#onResponse(exchange, head);
    return taken;
  }

  #onUpgraded(exchange: Http1ClientExchange, head: ResponseHead): void {
    if (head.upgrade !== exchange.upgrade) throw new Http1Violation('upgrade-unasked');
    this.#inHead = false;
    this.#persistent = false;
    exchange.upgraded = true;
    this.#channel.body.begin(UNTIL_CLOSE);
    this.writer.tunnel();
    exchange.answer(responseList(head), false);
    exchange.release();
  }

  #onResponse(exchange: Http1ClientExchange, head: ResponseHead): void {
    const { body } = this.#channel;
    this.#inHead = false;
    this.#persistent = head.persistent;
    // The body that waits for 100 is sent no more. What was asked for in its place is refused, so the request was all.
    exchange.cancelHold?.();
    if (exchange.upgrade !== '') exchange.outputEnded = true;
    body.begin(head.body);
    exchange.answer(responseList(head), body.done);
    if (body.done && !exchange.closed) this.#onResponseEnd(exchange);
  }

  #onResponseEnd(exchange: Http1ClientExchange): void {
    this.#responseWhole = true;
    const { trailers } = this.#channel.body;
    // A body that waits for 100 after the final response is not wanted, and one to a server that has gone is not read.
    const given = exchange.held || (!this.#persistent && !exchange.upgraded);
    if (exchange.outputEnded || given) this.#finish(exchange);
    exchange.input.end(trailers);
    if (this.availableExchanges() > 0) this.#handler.onAvailable?.();
  }

  /** Request and response are whole, or nothing more can come of them. */
  #finish(exchange: Http1ClientExchange): void {
    exchange.closed = true;
    exchange.cancelHold?.();
    this.#exchange = undefined;
    this.#served = true;
    if (!exchange.outputEnded)
      this.#breakOff('local', 'the response came before the request was whole');
    else if (!this.#persistent || this.#draining) this.#endInOrder();
    else this.#idleDeadline.set(this.#parameters.idleTimeoutMs);
  }

  #endInOrder(): void {
    if (this.#closed) return;
    this.#settle();
    this.#channel.end(LINGER_MS);
  }

  #breakOff(side: Side, found: string, options?: ErrorOptions): void {
    if (this.#closed) return;
    this.#settle(side, found, options);
    this.#channel.reset();
  }

  /** The state after which nothing happens any more; exchange and owner are told. @param found absent for an end in order. */
  #settle(side: Side = 'local', found?: string, options?: ErrorOptions): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#idleDeadline.stop();
    const exchange = this.#exchange;
    this.#exchange = undefined;
    if (exchange !== undefined) {
      exchange.closed = true;
      exchange.cancelHold?.();
      exchange.input.fail(this.#exchangeError(exchange, side, found ?? '', options));
    }
    let error: MeshError | undefined;
    if (found !== undefined) error = http1ConnectionError(side, found, options);
    this.#handler.onClose(error);
  }

  #exchangeError(
    exchange: Http1ClientExchange,
    side: Side,
    found: string,
    options?: ErrorOptions,
  ): Http1ExchangeError {
    const processed = this.#channel.bytesWritten > exchange.bytesBefore;
    const keepAliveRace = side === 'upstream' && this.#served && !exchange.answerBegun;
    return new Http1ExchangeError(side, found, { processed, keepAliveRace }, options);
  }
}

function onInformational(exchange: Http1ClientExchange, head: ResponseHead): void {
  if (++exchange.informationals > INFORMATIONALS_PER_REQUEST)
    throw new Http1Violation('too-many-informational-responses');
  exchange.input.handler?.onInformational?.(responseList(head));
  if (head.status !== CONTINUE || exchange.upgrade !== '') return;
  exchange.cancelHold?.();
  exchange.release();
}
