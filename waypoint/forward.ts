import type { SharedBytes } from '../net/byte-stream.ts';
import { findHeader, type HeaderList } from '../net/h2/headers.ts';
import { allowedTrailers } from '../net/http1/hop-by-hop.ts';
import { httpStatusFor } from '../mesh/model/grpc-http-status.ts';
import type { HttpRule } from '../mesh/model/http-route.ts';
import { Attempt, type AttemptOwner } from './attempt.ts';
import type { Backend, NoRoom, TryOutcome } from './backend.ts';
import { grpcStatusOf, parseGrpcTimeout } from './grpc.ts';
import type { HttpRequest, RequestTaker } from './http-request.ts';
import {
  brokenResponse,
  CONCURRENCY_LIMIT,
  failureReply,
  IDLE_AFTER_REQUEST,
  IDLE_IN_REQUEST,
  INTERNAL,
  type LocalReply,
  NO_HOST,
  REQUEST_TIMEOUT,
} from './local-reply.ts';
import { ExchangeLimits, type LimitedExchange } from './exchange-limits.ts';
import type { ReplayBody } from './replay-body.ts';
import { RequestBody } from './request-body.ts';
import type { RequestParts } from './request-parts.ts';
import { SI, UO, URX, UT } from './response-flags.ts';
import { forwardedResponse } from './response-head.ts';
import {
  askedPauseMs,
  backoffMs,
  isRetriableFailure,
  isRetriableResponse,
  jitteredPauseMs,
  retryPlan,
  type RetryPlan,
  withBackendRetries,
} from './retry.ts';
import { Deadline, type DeadlineOwner, requestTimeoutMs } from './timeout.ts';
import { isUpgradeGranted, upgradeRequest, upgradeResponse, type UpgradeTerms } from './upgrade.ts';
import type { PendingConnection } from './upstream/endpoint-pool.ts';
import type { UpstreamConnection } from './upstream/connection.ts';
import type { UpstreamEndpoint } from './upstream/endpoint.ts';
import type { UpstreamFailure } from './upstream/failure.ts';

const NOWHERE: readonly UpstreamEndpoint[] = [];

/**
 * One request on its way to an endpoint and back: tries, and the bytes both ways.
 *
 * ```
 *   trying --(failure or response that is retried)--> pausing --> trying
 *     |  \--(nothing left to try)--> answered by ourselves
 *     v
 *   responding: one try is chosen, nothing is retried any more
 *     |  \--(it breaks)--> broken off
 *     v
 *   ended
 * ```
 */
export class Forward implements AttemptOwner, RequestTaker, DeadlineOwner, LimitedExchange {
  readonly #request: HttpRequest;
  #backend: Backend;
  #hasFallenBack = false;
  readonly #parts: RequestParts;
  readonly #plan: RetryPlan;
  readonly #ruleTimeoutMs: number | undefined;
  readonly outgoing: HeaderList;
  readonly #terms: UpgradeTerms | undefined;
  readonly #body: RequestBody;
  #tried: UpstreamEndpoint[] | undefined;
  #retries = 0;
  /** A retry has been granted whose try has not begun. */
  #granted = false;
  /** The try that goes on: the last that was begun, then the chosen one. */
  #attempt: Attempt | undefined;
  /** Tries that are over their time and go on beside it. */
  #hedged: Attempt[] | undefined;
  #responding = false;
  #tunnel = false;
  #responseEnded = false;
  #ended = false;
  readonly #limits: ExchangeLimits;
  #pause: Deadline | undefined;

  constructor(request: HttpRequest, rule: HttpRule, backend: Backend, parts: RequestParts) {
    this.#request = request;
    this.#backend = backend;
    this.#parts = parts;
    const { head, downstream } = request;
    request.backendName = backend.name;
    this.#ruleTimeoutMs = rule.timeoutMs;
    if (head.protocol === '') {
      this.outgoing = head.list;
      this.#plan = withBackendRetries(retryPlan(rule.retry, head.method), backend.retryPolicy);
    } else {
      const upgrade = upgradeRequest(head.list, downstream.version, backend.version);
      this.outgoing = upgrade.list;
      this.#terms = upgrade.terms;
      this.#plan = withBackendRetries(retryPlan(rule.retry, 'CONNECT'), backend.retryPolicy);
    }
    this.#body = new RequestBody(this.#plan.attempts > 0 && !request.ended);
    this.#limits = new ExchangeLimits(this, request.exchange, parts.deadlines, {
      timeoutMs: timeLeftMs(request, rule.timeoutMs),
      idleMs: parts.settings.streamIdleMs,
    });
  }

  start(): void {
    this.#begin(false);
    if (!this.#ended) this.#request.forwardTo(this);
  }

  // Tries.

  /** @returns whether there was somewhere to try. */
  #begin(isRetry: boolean): boolean {
    const request = this.#request;
    this.#granted = false;
    const endpoint = this.#backend.chooseEndpoint(request, this.#tried ?? NOWHERE);
    const noRoom = endpoint && this.#backend.beginTry(endpoint);
    if (endpoint === undefined || noRoom !== undefined) {
      if (isRetry) this.#backend.endRetry();
      if (!this.#isTrying && !this.#fallBack()) this.#answer(replyWithout(noRoom));
      return false;
    }
    request.attempts++;
    request.endpoint = endpoint;
    const attempt = new Attempt(this, endpoint, isRetry);
    this.#attempt = attempt;
    if (request.ended) this.#limitTry(attempt);
    attempt.start();
    return true;
  }

  /** Begins anew at the backend that stands in for this one. @returns false where there is none; else the request is cared for. */
  #fallBack(): boolean {
    if (this.#hasFallenBack || this.#body.lost) return false;
    const request = this.#request;
    const fallback = this.#backend.fallback(request);
    if (fallback === undefined) return false;
    // The head has been brought into the form of one version.
    if (this.#terms !== undefined && fallback.version !== this.#backend.version) return false;
    this.#hasFallenBack = true;
    this.#backend = fallback;
    this.#tried = undefined;
    request.backendName = fallback.name;
    this.#begin(false);
    return true;
  }

  /** The time of one try begins when all of the request is here: a slow client is not the endpoint's fault. */
  #limitTry(attempt: Attempt): void {
    const { perTryTimeoutMs } = this.#plan;
    if (perTryTimeoutMs === undefined || this.#responding || attempt.deadline !== undefined) return;
    attempt.deadline = new Deadline(attempt);
    this.#parts.deadlines.set(attempt.deadline, perTryTimeoutMs);
  }

  connect(attempt: Attempt): UpstreamConnection | PendingConnection | undefined {
    const { version, limits } = this.#backend;
    return this.#parts.pool.acquire(attempt.endpoint, version, limits, attempt);
  }

  /** The endpoint has this try no more. */
  #leave(attempt: Attempt): void {
    if (attempt.deadline !== undefined) this.#parts.deadlines.clear(attempt.deadline);
    this.#backend.endTry(attempt.endpoint, attempt.latencyMs);
    if (attempt.isRetry) this.#backend.endRetry();
    if (this.#attempt === attempt) this.#attempt = undefined;
    else this.#hedged = this.#hedged?.filter((other) => other !== attempt);
  }

  #judge(attempt: Attempt, outcome: TryOutcome): void {
    if (this.#backend.judge(attempt.endpoint, outcome)) this.#request.ejections++;
  }

  /** Whether there is another try; says in the request's flags why not. */
  #takeRetry(): boolean {
    if (this.#body.lost) return false;
    if (this.#retries >= this.#plan.attempts) {
      if (this.#plan.attempts > 0) this.#request.flags |= URX;
      return false;
    }
    if (!this.#backend.beginRetry()) {
      this.#request.flags |= UO;
      return false;
    }
    this.#retries++;
    this.#granted = true;
    return true;
  }

  /** @param askedMs that an answer has asked to be left alone. */
  #retryLater(after: Attempt, askedMs?: number): void {
    (this.#tried ??= []).push(after.endpoint);
    this.#pause ??= new Deadline(this);
    const random = this.#parts.random();
    const pauseMs =
      askedMs === undefined
        ? backoffMs(this.#plan.backoffMs, this.#retries, random)
        : jitteredPauseMs(askedMs, random);
    this.#parts.deadlines.set(this.#pause, pauseMs);
  }

  onFailure(attempt: Attempt, failure: UpstreamFailure): void {
    this.#leave(attempt);
    if (this.#ended) return;
    if (attempt.transportFailure !== '') this.#request.transportFailure = attempt.transportFailure;
    if (failure !== 'overflow' && failure !== 'local-reset')
      this.#judge(attempt, failure === 'connection-failure' ? 'connect-failure' : 'reset');
    if (this.#responding) {
      const { flags, details } = brokenResponse(failure);
      this.#breakOff(flags, details);
      return;
    }
    if (this.#isTrying) return; // another one goes on
    if (failure === 'overflow' && this.#fallBack()) return;
    if (isRetriableFailure(this.#plan, failure, attempt.sent) && this.#takeRetry())
      this.#retryLater(attempt);
    else this.#answer(failureReply(failure, attempt.tlsFailure));
  }

  onTryTimeout(attempt: Attempt): void {
    this.#judge(attempt, 'timeout');
    const mayHedge = this.#plan.hedges && attempt === this.#attempt;
    if (mayHedge && this.#takeRetry()) {
      (this.#hedged ??= []).push(attempt);
      (this.#tried ??= []).push(attempt.endpoint);
      this.#attempt = undefined;
      // With nowhere else to go it has its time once more.
      if (!this.#begin(true) && attempt.deadline !== undefined)
        this.#parts.deadlines.set(attempt.deadline, this.#plan.perTryTimeoutMs ?? 0);
      return;
    }
    attempt.close();
    this.#leave(attempt);
    if (this.#isTrying) return;
    const isRetriable = isRetriableFailure(this.#plan, 'per-try-timeout', attempt.sent);
    if (isRetriable && !mayHedge && this.#takeRetry()) this.#retryLater(attempt);
    else this.#answer(failureReply('per-try-timeout'));
  }

  get #isTrying(): boolean {
    return this.#attempt !== undefined || (this.#hedged !== undefined && this.#hedged.length > 0);
  }

  // The request's body.

  get kept(): ReplayBody | undefined {
    return this.#body.kept;
  }

  get isBodiless(): boolean {
    const { ended, trailers } = this.#request;
    if (!ended || this.#terms !== undefined || trailers !== undefined) return false;
    return this.#body.isEmpty;
  }

  onOpened(): void {
    const { head, exchange } = this.#request;
    if (!head.expectsContinue || this.#request.ended) return;
    head.expectsContinue = false;
    exchange.sendInformational(CONTINUE);
  }

  bodyCapacity(): number {
    return this.#body.capacity(this.#attempt);
  }

  takeBody(bytes: SharedBytes, offset: number, length: number): number {
    return this.#body.take(this.#attempt, bytes, offset, length);
  }

  onBodyEnd(): void {
    const attempt = this.#attempt;
    if (attempt === undefined) return;
    this.#limitTry(attempt);
    if (attempt.caughtUp) this.#endBody(attempt);
  }

  onCaughtUp(attempt: Attempt): void {
    if (this.#responding) this.#body.drop();
    if (this.#request.ended) this.#endBody(attempt);
    else this.#request.resumeBody();
  }

  #endBody(attempt: Attempt): void {
    attempt.endBody(this.#request.trailers);
    if (this.#tunnel && this.#responseEnded) this.#finish(attempt);
  }

  // The response.

  onInformational(_attempt: Attempt, headers: HeaderList): void {
    // 100 was said here, where it was asked for; 101 is the final one.
    if (this.#responding || headers[1] === '100' || headers[1] === '101') return;
    if (this.#request.downstream.version === 'HTTP/1.0') return;
    this.#request.exchange.sendInformational(headers);
  }

  onResponse(attempt: Attempt, headers: HeaderList, endStream: boolean): void {
    const request = this.#request;
    const status = Number(headers[1]);
    const terms = this.#terms;
    const granted = terms !== undefined && isUpgradeGranted(terms, headers);
    if (!granted && this.#isToBeRetried(attempt, status, headers, endStream)) return;
    if (status === 101 && !granted) {
      attempt.close();
      this.onFailure(attempt, 'protocol-error');
      return;
    }
    request.serviceTimeMs = performance.now() - attempt.startMs;
    request.endpoint = attempt.endpoint; // of several that are tried at once, this is the one
    const { server } = this.#parts.settings;
    const forwarded = forwardedResponse(headers, request.serviceTimeMs, server);
    let list: HeaderList | undefined;
    try {
      list = this.#parts.filterResponse(request, forwarded);
    } catch (error) {
      this.#parts.onFault(error);
      this.#answer(INTERNAL);
      return;
    }
    if (granted) list = upgradeResponse(terms, list);
    if (list === undefined) {
      attempt.close();
      this.onFailure(attempt, 'protocol-error');
      return;
    }
    this.#choose(attempt);
    request.details = 'via_upstream';
    this.#tunnel = granted;
    if (granted) this.#limits.liftTimeout();
    const isLast = endStream && !granted;
    this.#judgeResponse(attempt, status, headers, isLast);
    if (!request.respond(list, isLast)) {
      this.#abandon();
      return;
    }
    if (isLast) this.#finish(attempt);
    else attempt.openResponse();
  }

  /** Decides about another try; true when this response is not the one for the client. */
  #isToBeRetried(
    attempt: Attempt,
    status: number,
    headers: HeaderList,
    endStream: boolean,
  ): boolean {
    const isGrpc = this.#request.head.isGrpc;
    if (status < 400 && !isGrpc) return false;
    const overloaded = findHeader(headers, 'x-envoy-overloaded') !== undefined;
    const grpcStatus = isGrpc && endStream ? grpcStatusOf(headers) : undefined;
    if (!isRetriableResponse(this.#plan, { status, grpcStatus, overloaded })) return false;
    const others = this.#hedged !== undefined && this.#hedged.length > 0;
    const isLone = attempt === this.#attempt && !others;
    const asked = askedPauseMs(this.#plan, status, headers, Date.now());
    // The client learns when to come back, in the place of a timeout.
    if (asked !== undefined && asked >= this.#timeLeftMs()) return false;
    if (isLone && !this.#takeRetry()) return false;
    this.#judge(attempt, grpcStatus === undefined ? status : httpStatusFor(grpcStatus));
    attempt.close();
    this.#leave(attempt);
    if (isLone) this.#retryLater(attempt, asked);
    return true;
  }

  #timeLeftMs(): number {
    return timeLeftMs(this.#request, this.#ruleTimeoutMs) ?? Infinity;
  }

  /** This is the one: the others are given up, and nothing is kept for another try. */
  #choose(attempt: Attempt): void {
    this.#responding = true;
    if (attempt.deadline !== undefined) this.#parts.deadlines.clear(attempt.deadline);
    if (this.#hedged !== undefined) {
      for (const other of [...this.#hedged, this.#attempt]) {
        if (other === attempt || other === undefined) continue;
        other.close();
        this.#leave(other);
      }
      this.#hedged = undefined;
      this.#attempt = attempt;
    }
    if (attempt.caughtUp) this.#body.drop();
  }

  /** In gRPC the status counts, which a response with a body tells at its end. */
  #judgeResponse(attempt: Attempt, status: number, headers: HeaderList, isLast: boolean): void {
    const request = this.#request;
    if (!request.head.isGrpc || status !== 200) this.#judge(attempt, status);
    else if (isLast) this.#judgeGrpc(attempt, headers);
  }

  #judgeTrailers(attempt: Attempt, trailers: HeaderList): void {
    const { head, status } = this.#request;
    // Another status was judged when it came.
    if (head.isGrpc && status === 200) this.#judgeGrpc(attempt, trailers);
  }

  #judgeGrpc(attempt: Attempt, fields: HeaderList): void {
    const grpcStatus = grpcStatusOf(fields);
    if (grpcStatus !== undefined) this.#request.grpcStatus = grpcStatus;
    this.#judge(attempt, grpcStatus === undefined ? 200 : httpStatusFor(grpcStatus));
  }

  responseCapacity(): number {
    const capacity = this.#request.exchange.capacity();
    if (capacity === 0) this.#request.awaitWritable();
    return capacity;
  }

  takeResponse(bytes: SharedBytes, offset: number, length: number): number {
    const { exchange, messages } = this.#request;
    messages?.response.look(bytes.buffer, offset, length);
    const wrote = exchange.write(bytes, offset, length);
    messages?.response.commit(wrote);
    if (wrote < length) this.#request.awaitWritable();
    return wrote;
  }

  onClientWritable(): void {
    this.#attempt?.resumeResponse();
  }

  onResponseEnd(attempt: Attempt): void {
    const { exchange, ended } = this.#request;
    const trailers = attempt.trailers ?? NO_FIELDS;
    const allowed = allowedTrailers(trailers);
    this.#judgeTrailers(attempt, trailers);
    if (allowed.length > 0) exchange.sendTrailers(allowed);
    else exchange.end();
    this.#responseEnded = true;
    // A tunnel's other direction goes on by itself; the rest of a request that is answered is of no use.
    if (!this.#tunnel || (ended && attempt.bodyEnded)) this.#finish(attempt);
  }

  // Ends.

  #finish(attempt: Attempt): void {
    attempt.finish();
    this.#end();
    this.#request.finish();
  }

  #answer(reply: LocalReply): void {
    this.#abandon();
    this.#request.answer(reply);
  }

  #breakOff(flags: number, details: string): void {
    this.#abandon();
    this.#request.breakOff(flags, details);
  }

  onClientGone(): void {
    this.#abandon();
  }

  /** Gives up all tries. */
  #abandon(): void {
    for (const attempt of this.#hedged ?? []) attempt.close();
    this.#attempt?.close();
    this.#end();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const attempt of this.#hedged ?? []) this.#leave(attempt);
    if (this.#attempt !== undefined) this.#leave(this.#attempt);
    if (this.#pause !== undefined) this.#parts.deadlines.clear(this.#pause);
    if (this.#granted) this.#backend.endRetry();
    this.#limits.clear();
    this.#body.drop();
  }

  // Deadlines.

  /** The pause before a retry is over. */
  onDeadline(): void {
    if (!this.#ended) this.#begin(true);
  }

  onTimeout(): void {
    if (this.#attempt !== undefined) this.#judge(this.#attempt, 'timeout');
    this.#expire(REQUEST_TIMEOUT, UT);
  }

  onIdle(): void {
    this.#expire(this.#request.ended ? IDLE_AFTER_REQUEST : IDLE_IN_REQUEST, SI);
  }

  #expire(reply: LocalReply, flags: number): void {
    if (this.#responding) this.#breakOff(flags, reply.details);
    else this.#answer(reply);
  }
}

/** What a client gets where no try could begin: no endpoint is there, or none has room. */
function replyWithout(noRoom: NoRoom | undefined): LocalReply {
  if (noRoom === undefined) return NO_HOST;
  return noRoom === 'overflow' ? failureReply('overflow') : CONCURRENCY_LIMIT;
}

/** Of the request's time, which began with it, whatever came before this; `undefined`: without end. */
function timeLeftMs(
  { head, startMs }: HttpRequest,
  ruleMs: number | undefined,
): number | undefined {
  const grpcMs = head.isGrpc ? parseGrpcTimeout(head.grpcTimeout) : undefined;
  const timeoutMs = requestTimeoutMs(ruleMs, grpcMs);
  return timeoutMs === undefined ? undefined : timeoutMs - (performance.now() - startMs);
}

const CONTINUE: HeaderList = [':status', '100'];
const NO_FIELDS: HeaderList = [];
