import type { Seated } from '../base/roster.ts';
import type { PolicyRequest } from '../mesh/model/http-policy-values.ts';
import type { ByteSink, SharedBytes } from '../net/byte-stream.ts';
import { Http2StreamError, INTERNAL_ERROR, NO_ERROR } from '../net/h2/errors.ts';
import type { HeaderList } from '../net/h2/headers.ts';
import type { ExchangeHandler, ServerExchange } from '../net/http/exchange.ts';
import { runNextTurn, type TurnTask } from '../net/reactor.ts';
import type { Downstream } from './downstream.ts';
import { HeldBody } from './held-body.ts';
import { GrpcTraffic } from './grpc-messages.ts';
import { INTERNAL, type LocalReply } from './local-reply.ts';
import { LocalAnswer } from './local-answer.ts';
import { RequestHead } from './request-head.ts';
import { DC, DPE } from './response-flags.ts';
import { headerBytes } from './response-head.ts';
import type { Routing } from './routing.ts';
import type { TraceDecision } from './trace-context.ts';
import type { UpstreamEndpoint } from './upstream/endpoint.ts';

/** Who takes the body of a request, once it is forwarded. None of these may throw. */
export interface RequestTaker {
  /** As ByteSink.capacity() and onData(), for the body. */
  bodyCapacity(): number;
  takeBody(bytes: SharedBytes, offset: number, length: number): number;
  /** The body has ended; trailers are the request's. */
  onBodyEnd(): void;
  /** The client takes more of the response. */
  onClientWritable(): void;
  /** The client has gone. */
  onClientGone(): void;
}

/** A copy of a request, which gets the body too. None of these may throw. */
export interface RequestCopy {
  start(): void;
  /** A piece of the body, before it is sent on: then its memory is another's. */
  stage(bytes: SharedBytes, offset: number, length: number): void;
  /** So much of the staged piece was taken; the rest comes again. */
  commit(taken: number): void;
  endBody(): void;
  /** The request is over before its body was. Idempotent. */
  close(): void;
}

/** Who hears of requests. Neither may throw. */
export interface RequestObserver {
  /** Told of each once: for metrics and log. */
  onRequestEnd(request: HttpRequest): void;
  /** A fault of our own; the request gets 500. */
  onFault(error: unknown): void;
}

/** A request that was let in, and what policy saw of it. */
export type RunningRequest = Seated & Readonly<{ request: HttpRequest; seen: PolicyRequest }>;

/**
 * One request and what is known of it: the client's side of its exchange, and the facts that its record is made of.
 * It ends once: answered in full, broken off so that the client cannot take it for whole, or left by the client.
 */
export class HttpRequest implements ExchangeHandler, ByteSink, TurnTask {
  readonly exchange: ServerExchange;
  readonly downstream: Downstream;
  readonly head: RequestHead;
  readonly #observer: RequestObserver;
  #taker: RequestTaker | undefined;
  #mirrors: readonly RequestCopy[] | undefined;
  #answer: LocalAnswer | undefined;
  #hasSink: boolean;
  #over = false;
  /** The beginning of the body, while somebody is shown it and until it is handed on. */
  #held: HeldBody | undefined;
  #onHeld: (() => void) | undefined;
  /** The body has come to its end behind what is held. */
  #endHeld = false;
  #taskQueued = false;
  /** The request is complete, and all of it handed on. */
  ended: boolean;
  trailers: HeaderList | undefined;

  // What its record says.
  readonly startMs = performance.now();
  endMs = 0;
  /** 0 until there is a response. */
  status = 0;
  flags = 0;
  details = '';
  /** -1 where there is none. */
  grpcStatus = -1;
  routeName = '';
  /** Where it is told of changes of policy, from when it is let in. */
  running: RunningRequest | undefined;
  /** What the rule makes of it and of its response; `undefined` until there is a rule. */
  routing: Routing | undefined;
  /** Whether a span is made of it; `undefined` until that is decided. */
  trace: TraceDecision | undefined;
  /** Of the token that was verified; `undefined` without one. */
  claims: object | undefined;
  /** What an authorizer has the response say. */
  responseHeaders: HeaderList = [];
  /** The policy that decided, `<namespace>/<name>`. */
  policy = '';
  /** What its response tells the client of rate limits. */
  rateLimitFields: HeaderList | undefined;
  backendName = '';
  /** The last one that was tried. */
  endpoint: UpstreamEndpoint | undefined;
  attempts = 0;
  /** Endpoints that were ejected for what they did to this request. */
  ejections = 0;
  /** The messages of a gRPC exchange. */
  readonly messages: GrpcTraffic | undefined;
  /** From the last try's beginning to its response; -1 without one. */
  serviceTimeMs = -1;
  responseHeaderBytes = 0;
  /** Why no connection could be made. */
  transportFailure = '';

  constructor(
    exchange: ServerExchange,
    received: HeaderList,
    endStream: boolean,
    downstream: Downstream,
    observer: RequestObserver,
  ) {
    this.exchange = exchange;
    this.downstream = downstream;
    this.head = new RequestHead(received, downstream);
    this.ended = endStream;
    this.messages = this.head.isGrpc ? new GrpcTraffic() : undefined;
    this.#observer = observer;
    this.#hasSink = !endStream;
    exchange.setHandler(this);
    if (!endStream) exchange.setSink(this);
  }

  /** Nothing more can be done about it. */
  get over(): boolean {
    return this.#over;
  }

  /** Copies get the body too; to be called before it is handed on. */
  mirrorTo(mirrors: readonly RequestCopy[]): void {
    this.#mirrors = mirrors;
    for (const mirror of mirrors) mirror.start();
  }

  /**
   * Reads the beginning of the body before anybody takes it, and keeps it for who does.
   *
   * @param limitBytes where it stops, however long the body is; once for a request.
   * @returns settles when so much is here, or all of it, or when no more is to come because the request is over.
   */
  holdBody(limitBytes: number): Promise<void> {
    const held = new HeldBody(limitBytes);
    this.#held = held;
    if (this.head.expectsContinue && !this.ended && !this.#over) {
      this.head.expectsContinue = false;
      this.exchange.sendInformational(CONTINUE);
    }
    if (this.ended || this.#over) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#onHeld = () => {
      resolve(undefined);
    };
    this.exchange.resume();
    return promise;
  }

  /** What is held of the body, and whether that is all of it. */
  get heldBody(): Readonly<{ bytes: Uint8Array; isWhole: boolean; overflowed: boolean }> {
    const { bytes = NO_BYTES, overflowed = false } = this.#held ?? {};
    return { bytes, isWhole: this.ended || this.#endHeld, overflowed };
  }

  /** Hands the body on, from its beginning. */
  forwardTo(taker: RequestTaker): void {
    this.#taker = taker;
    this.resumeBody();
  }

  /** The taker takes more. */
  resumeBody(): void {
    if (this.ended) return;
    if (this.#held === undefined) this.exchange.resume();
    else if (!this.#taskQueued) {
      this.#taskQueued = true;
      runNextTurn(this);
    }
  }

  /** Hands on what is held, then the rest. */
  runTask(): void {
    this.#taskQueued = false;
    const held = this.#held;
    if (held === undefined || this.#taker === undefined) return;
    if (!held.handOn((bytes, offset, length) => this.#give(bytes, offset, length))) return;
    if (this.#over) return; // by what it was given
    held.release();
    this.#held = undefined;
    if (this.#endHeld) this.onEnd();
    else this.exchange.resume();
  }

  /** Gives the whole response here. Nothing happens when it is over, or a response has begun. */
  answer(reply: LocalReply): void {
    if (this.#over || this.status !== 0) return;
    this.#taker = undefined;
    this.flags |= reply.flags;
    this.details = reply.details;
    if (reply.policy !== undefined) this.policy = reply.policy;
    const answer = new LocalAnswer(this, reply);
    this.#answer = answer;
    this.#continueAnswer(answer);
  }

  /**
   * Begins the response; the body follows by the exchange.
   *
   * @returns false when that cannot be: the client has gone, or an answer of our own was given in its place.
   */
  respond(list: HeaderList, endStream: boolean): boolean {
    if (this.#over) return false;
    try {
      if (!this.exchange.respond(list, endStream ? END_STREAM : undefined)) return false;
    } catch (error) {
      // A filter has made a field that cannot be sent.
      this.#observer.onFault(error);
      this.answer(INTERNAL);
      return false;
    }
    this.status = Number(list[1]);
    this.responseHeaderBytes = headerBytes(list);
    return true;
  }

  /** More of the response can be written when the client takes it: it will be told. */
  awaitWritable(): void {
    if (this.#hasSink) return;
    this.#hasSink = true;
    this.exchange.setSink(this);
  }

  /** The response is complete. What the client still wants to send is not wanted. */
  finish(): void {
    if (this.#over) return;
    // Complete, so NO_ERROR: the client may stop sending, and has its answer all the same. RFC 9113 section 8.1.
    if (!this.ended) this.exchange.reset(NO_ERROR);
    this.#end();
  }

  /** The response has begun and will never be complete: the client must see that. */
  breakOff(flags: number, details: string): void {
    if (this.#over) return;
    this.flags |= flags;
    this.details = details;
    this.exchange.reset(INTERNAL_ERROR);
    this.#end();
  }

  /** It must not go on, however far it is. */
  cut(details: string): void {
    if (this.#over) return;
    this.details = details;
    this.exchange.reset(INTERNAL_ERROR);
    const taker = this.#taker;
    this.#end();
    taker?.onClientGone();
  }

  // The exchange's handler.

  onTrailers(trailers: HeaderList): void {
    this.trailers = trailers;
  }

  onError(error: Error): void {
    if (this.#over) return;
    const isFault =
      error instanceof Http2StreamError && !error.resetByPeer && error.h2Code !== NO_ERROR;
    this.flags |= isFault ? DPE : DC;
    this.details = isFault ? 'http2.violation.of.messaging.rule' : 'downstream_remote_disconnect';
    const taker = this.#taker;
    this.#end();
    taker?.onClientGone();
  }

  /** Nobody waits for the answer any more; what is left of the request is not for the upstream. */
  onAbandoned(error: Error): void {
    this.exchange.reset();
    this.onError(error);
  }

  // The exchange's sink. onError() serves both.

  capacity(): number {
    if (this.#onHeld !== undefined) return this.#held?.room ?? 0;
    return this.#taker === undefined || this.#held !== undefined ? 0 : this.#taker.bodyCapacity();
  }

  onData(bytes: SharedBytes, offset: number, length: number): number {
    if (this.#onHeld !== undefined) return this.#hold(bytes, offset, length);
    return this.#held === undefined ? this.#give(bytes, offset, length) : 0;
  }

  #hold(bytes: SharedBytes, offset: number, length: number): number {
    const held = this.#held;
    const taken = held?.append(bytes, offset, length) ?? 0;
    if (held === undefined || held.room <= 0) this.#heldEnough();
    return taken;
  }

  #heldEnough(): void {
    const onHeld = this.#onHeld;
    this.#onHeld = undefined;
    onHeld?.();
  }

  #give(bytes: SharedBytes, offset: number, length: number): number {
    if (this.#taker === undefined) return 0;
    const { messages } = this;
    messages?.request.look(bytes.buffer, offset, length);
    const taken =
      this.#mirrors === undefined
        ? this.#taker.takeBody(bytes, offset, length)
        : takeCopied(this.#taker, this.#mirrors, bytes, offset, length);
    messages?.request.commit(taken);
    return taken;
  }

  onEnd(): void {
    if (this.ended) return;
    if (this.#held !== undefined) {
      this.#endHeld = true;
      this.#heldEnough();
      return;
    }
    this.ended = true;
    for (const mirror of this.#mirrors ?? []) mirror.endBody();
    this.#taker?.onBodyEnd();
  }

  onWritable(): void {
    if (this.#answer !== undefined) this.#continueAnswer(this.#answer);
    else this.#taker?.onClientWritable();
  }

  #continueAnswer(answer: LocalAnswer): void {
    if (answer.write()) this.finish();
    else this.awaitWritable();
  }

  #end(): void {
    this.#over = true;
    if (!this.ended) for (const mirror of this.#mirrors ?? []) mirror.close();
    this.#taker = undefined;
    this.#answer = undefined;
    this.#held?.release();
    this.#held = undefined;
    this.#heldEnough();
    this.endMs = performance.now();
    this.#observer.onRequestEnd(this);
  }
}

const END_STREAM = { endStream: true };
const CONTINUE: HeaderList = [':status', '100'];
const NO_BYTES = Buffer.alloc(0);

/** As RequestTaker.takeBody(), and its copies get the same. */
function takeCopied(
  taker: RequestTaker,
  copies: readonly RequestCopy[],
  bytes: SharedBytes,
  offset: number,
  length: number,
): number {
  for (const copy of copies) copy.stage(bytes, offset, length);
  const taken = taker.takeBody(bytes, offset, length);
  for (const copy of copies) copy.commit(taken);
  return taken;
}
