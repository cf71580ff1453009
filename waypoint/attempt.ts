import type { ByteSink, SharedBytes } from '../net/byte-stream.ts';
import { CANCEL } from '../net/h2/errors.ts';
import type { HeaderList } from '../net/h2/headers.ts';
import type { ClientExchange, ExchangeHandler } from '../net/http/exchange.ts';
import { allowedTrailers } from '../net/http1/hop-by-hop.ts';
import { describeError } from '../base/errors.ts';
import type { ReplayBody } from './replay-body.ts';
import type { Deadline, DeadlineOwner } from './timeout.ts';
import { PendingConnection, type PoolWaiter } from './upstream/endpoint-pool.ts';
import type { UpstreamConnection } from './upstream/connection.ts';
import type { UpstreamEndpoint } from './upstream/endpoint.ts';
import { classifyFailure, tlsFailure, type UpstreamFailure } from './upstream/failure.ts';

/** What a try tells, and asks, the one who makes it. */
export interface AttemptOwner {
  /** A connection, a place in the queue, or `undefined` when the queue is full. */
  connect(attempt: Attempt): UpstreamConnection | PendingConnection | undefined;
  /** The head to send. */
  readonly outgoing: HeaderList;
  /** The request has no body, or it has ended without one. */
  readonly isBodiless: boolean;
  /** What is kept of the body. */
  readonly kept: ReplayBody | undefined;
  /** The exchange has begun. */
  onOpened(attempt: Attempt): void;
  /** All that was kept of the body is sent: the rest can follow. */
  onCaughtUp(attempt: Attempt): void;
  onInformational(attempt: Attempt, headers: HeaderList): void;
  onResponse(attempt: Attempt, headers: HeaderList, endStream: boolean): void;
  /** As ByteSink, for the body of the response. */
  responseCapacity(): number;
  takeResponse(bytes: SharedBytes, offset: number, length: number): number;
  onResponseEnd(attempt: Attempt): void;
  onFailure(attempt: Attempt, failure: UpstreamFailure): void;
  onTryTimeout(attempt: Attempt): void;
}

/** One try at one endpoint: the upstream's side of a request. Its end is told once, unless it is given up. */
export class Attempt implements ExchangeHandler, ByteSink, PoolWaiter, DeadlineOwner {
  readonly endpoint: UpstreamEndpoint;
  readonly isRetry: boolean;
  readonly startMs = performance.now();
  /** Until its answer began; `undefined` without one. */
  latencyMs: number | undefined;
  readonly #owner: AttemptOwner;
  #pending: PendingConnection | undefined;
  #exchange: ClientExchange | undefined;
  /** How much of what was kept of the body is sent. */
  #replayed = 0;
  #caughtUp = false;
  /** The request is sent in full. */
  #bodyEnded = false;
  #hasSink = false;
  #over = false;
  /** Of this try; set by the owner. */
  deadline: Deadline | undefined;
  trailers: HeaderList | undefined;
  /** Why there was no connection, or none any more where TLS is the reason. */
  transportFailure = '';
  tlsFailure = '';

  constructor(owner: AttemptOwner, endpoint: UpstreamEndpoint, isRetry: boolean) {
    this.#owner = owner;
    this.endpoint = endpoint;
    this.isRetry = isRetry;
  }

  start(): void {
    const found = this.#owner.connect(this);
    if (found === undefined) this.#fail('overflow');
    else if (found instanceof PendingConnection) this.#pending = found;
    else this.onConnection(found);
  }

  /** The head was handed to a connection. */
  get sent(): boolean {
    return this.#exchange !== undefined;
  }

  get over(): boolean {
    return this.#over;
  }

  /** The body goes straight through. */
  get caughtUp(): boolean {
    return this.#caughtUp;
  }

  get bodyEnded(): boolean {
    return this.#bodyEnded;
  }

  // The pool's waiter.

  onConnection(connection: UpstreamConnection): void {
    this.#pending = undefined;
    if (this.#over) return;
    const { outgoing, isBodiless } = this.#owner;
    let exchange: ClientExchange | undefined;
    try {
      exchange = connection.open(outgoing, isBodiless, this);
    } catch {
      this.#fail('local-reset');
      return;
    }
    if (exchange === undefined) {
      this.start();
      return;
    }
    this.#exchange = exchange;
    this.#owner.onOpened(this);
    if (isBodiless) {
      this.#caughtUp = true;
      this.#bodyEnded = true;
    } else {
      this.#setSink(exchange);
      this.#pump(exchange);
    }
  }

  onConnectFailure(error: unknown): void {
    this.#pending = undefined;
    this.transportFailure = describeError(error);
    this.tlsFailure = tlsFailure(error);
    this.#fail('connection-failure');
  }

  // The request's body.

  capacity(): number {
    return this.#owner.responseCapacity();
  }

  bodyCapacity(): number {
    return this.#exchange?.capacity() ?? 0;
  }

  /** As ByteStream.write(); what is kept of the body must have the same bytes at its end. */
  write(bytes: SharedBytes, offset: number, length: number): number {
    const wrote = this.#exchange?.write(bytes, offset, length) ?? 0;
    this.#replayed += wrote;
    return wrote;
  }

  /** Ends the request's body, once all of it is sent. */
  endBody(trailers: HeaderList | undefined): void {
    if (this.#bodyEnded || this.#exchange === undefined) return;
    this.#bodyEnded = true;
    const allowed = trailers === undefined ? [] : allowedTrailers(trailers);
    if (allowed.length > 0) this.#exchange.sendTrailers(allowed);
    else this.#exchange.end();
  }

  #pump(exchange: ClientExchange): void {
    const { kept } = this.#owner;
    if (!this.#caughtUp && kept !== undefined) {
      this.#replayed = kept.writeTo(exchange, this.#replayed);
      if (this.#replayed < kept.length) return; // until onWritable()
    }
    this.#caughtUp = true;
    this.#owner.onCaughtUp(this);
  }

  // The response.

  /** The body goes to the owner from here on. */
  openResponse(): void {
    if (this.#exchange !== undefined) this.#setSink(this.#exchange);
  }

  resumeResponse(): void {
    this.#exchange?.resume();
  }

  onInformational(headers: HeaderList): void {
    if (!this.#over) this.#owner.onInformational(this, headers);
  }

  onResponse(headers: HeaderList, endStream: boolean): void {
    if (this.#over) return;
    this.latencyMs = performance.now() - this.startMs;
    this.#owner.onResponse(this, headers, endStream);
  }

  onTrailers(trailers: HeaderList): void {
    this.trailers = trailers;
  }

  onData(bytes: SharedBytes, offset: number, length: number): number {
    return this.#owner.takeResponse(bytes, offset, length);
  }

  onEnd(): void {
    if (!this.#over) this.#owner.onResponseEnd(this);
  }

  onWritable(): void {
    if (!this.#over && this.#exchange !== undefined) this.#pump(this.#exchange);
  }

  /** Told to the handler and to the sink; the first counts. */
  onError(error: Error): void {
    this.tlsFailure = tlsFailure(error);
    this.transportFailure ||= this.tlsFailure;
    this.#fail(classifyFailure(error));
  }

  onDeadline(): void {
    if (!this.#over) this.#owner.onTryTimeout(this);
  }

  /** Its end is known: nothing is told any more. What the endpoint is not done with is reset. */
  close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#pending?.cancel();
    this.#exchange?.reset(CANCEL);
  }

  /** As close(), after a response that has ended in order; with the request sent in full, nothing is to be reset. */
  finish(): void {
    if (this.#bodyEnded) this.#over = true;
    else this.close();
  }

  #fail(failure: UpstreamFailure): void {
    if (this.#over) return;
    this.#over = true;
    this.#owner.onFailure(this, failure);
  }

  #setSink(exchange: ClientExchange): void {
    if (this.#hasSink) return;
    this.#hasSink = true;
    exchange.setSink(this);
  }
}
