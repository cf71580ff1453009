import type { SharedBytes } from '../net/byte-stream.ts';
import type { HeaderList } from '../net/h2/headers.ts';
import { allowedTrailers } from '../net/http1/hop-by-hop.ts';
import { httpStatusFor } from '../mesh/model/grpc-http-status.ts';
import type { HttpRule } from '../mesh/model/http-route.ts';
import type { Attempt } from './attempt.ts';
import type { Backend } from './backend.ts';
import { ExchangeLimits, type LimitedExchange, timeLeftMs } from './exchange-limits.ts';
import { grpcStatusOf } from './grpc.ts';
import type { HttpRequest, RequestTaker } from './http-request.ts';
import {
  brokenResponse,
  IDLE_AFTER_REQUEST,
  IDLE_IN_REQUEST,
  INTERNAL,
  type LocalReply,
  REQUEST_TIMEOUT,
} from './local-reply.ts';
import type { ReplayBody } from './replay-body.ts';
import { RequestBody } from './request-body.ts';
import type { RequestParts } from './request-parts.ts';
import { SI, UT } from './response-flags.ts';
import { forwardedResponse } from './response-head.ts';
import { Tries, type TriesOwner } from './tries.ts';
import { isUpgradeGranted, upgradeRequest, upgradeResponse, type UpgradeTerms } from './upgrade.ts';
import type { PendingConnection } from './upstream/endpoint-pool.ts';
import type { UpstreamConnection } from './upstream/connection.ts';
import type { UpstreamFailure } from './upstream/failure.ts';

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
export class Forward implements TriesOwner, RequestTaker, LimitedExchange {
  readonly #request: HttpRequest;
  readonly #parts: RequestParts;
  readonly outgoing: HeaderList;
  readonly #terms: UpgradeTerms | undefined;
  readonly #tries: Tries;
  readonly #body: RequestBody;
  #tunnel = false;
  #responseEnded = false;
  readonly #limits: ExchangeLimits;

  constructor(request: HttpRequest, rule: HttpRule, backend: Backend, parts: RequestParts) {
    this.#request = request;
    this.#parts = parts;
    const { head, downstream } = request;
    request.backendName = backend.name;
    if (head.protocol === '') this.outgoing = head.list;
    else {
      const upgrade = upgradeRequest(head.list, downstream.version, backend.version);
      this.outgoing = upgrade.list;
      this.#terms = upgrade.terms;
    }
    this.#tries = new Tries(this, request, rule, backend, parts);
    this.#body = new RequestBody(this.#tries.mayRetry && !request.ended);
    this.#limits = new ExchangeLimits(this, request.exchange, parts.deadlines, {
      timeoutMs: timeLeftMs(request, rule.timeoutMs),
      idleMs: parts.settings.streamIdleMs,
    });
  }

  start(): void {
    this.#tries.begin(false);
    if (!this.#tries.ended) this.#request.forwardTo(this);
  }

  // The tries.

  get bodyLost(): boolean {
    return this.#body.lost;
  }

  get isUpgrade(): boolean {
    return this.#terms !== undefined;
  }

  connect(attempt: Attempt): UpstreamConnection | PendingConnection | undefined {
    return this.#tries.connect(attempt);
  }

  onFailure(attempt: Attempt, failure: UpstreamFailure): void {
    this.#tries.onFailure(attempt, failure);
  }

  onTryTimeout(attempt: Attempt): void {
    this.#tries.onTryTimeout(attempt);
  }

  onBroken(failure: UpstreamFailure): void {
    const { flags, details } = brokenResponse(failure);
    this.#breakOff(flags, details);
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
    return this.#body.capacity(this.#tries.current);
  }

  takeBody(bytes: SharedBytes, offset: number, length: number): number {
    return this.#body.take(this.#tries.current, bytes, offset, length);
  }

  onBodyEnd(): void {
    const attempt = this.#tries.current;
    if (attempt === undefined) return;
    this.#tries.limit(attempt);
    if (attempt.caughtUp) this.#endBody(attempt);
  }

  onCaughtUp(attempt: Attempt): void {
    if (this.#tries.chosen) this.#body.drop();
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
    if (this.#tries.chosen || headers[1] === '100' || headers[1] === '101') return;
    if (this.#request.downstream.version === 'HTTP/1.0') return;
    this.#request.exchange.sendInformational(headers);
  }

  onResponse(attempt: Attempt, headers: HeaderList, endStream: boolean): void {
    const request = this.#request;
    const status = Number(headers[1]);
    const terms = this.#terms;
    const granted = terms !== undefined && isUpgradeGranted(terms, headers);
    if (!granted && this.#tries.retriesResponse(attempt, status, headers, endStream)) return;
    if (status === 101 && !granted) {
      attempt.close();
      this.#tries.onFailure(attempt, 'protocol-error');
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
      this.answer(INTERNAL);
      return;
    }
    if (granted) list = upgradeResponse(terms, list);
    if (list === undefined) {
      attempt.close();
      this.#tries.onFailure(attempt, 'protocol-error');
      return;
    }
    this.#tries.choose(attempt);
    if (attempt.caughtUp) this.#body.drop(); // nothing of it is needed for another try
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

  /** In gRPC the status counts, which a response with a body tells at its end. */
  #judgeResponse(attempt: Attempt, status: number, headers: HeaderList, isLast: boolean): void {
    const request = this.#request;
    if (!request.head.isGrpc || status !== 200) this.#tries.judge(attempt, status);
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
    this.#tries.judge(attempt, grpcStatus === undefined ? 200 : httpStatusFor(grpcStatus));
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
    this.#tries.current?.resumeResponse();
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

  answer(reply: LocalReply): void {
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
    this.#tries.close();
    this.#end();
  }

  #end(): void {
    if (!this.#tries.end()) return;
    this.#limits.clear();
    this.#body.drop();
  }

  // Deadlines.

  onTimeout(): void {
    const { current } = this.#tries;
    if (current !== undefined) this.#tries.judge(current, 'timeout');
    this.#expire(REQUEST_TIMEOUT, UT);
  }

  onIdle(): void {
    this.#expire(this.#request.ended ? IDLE_AFTER_REQUEST : IDLE_IN_REQUEST, SI);
  }

  #expire(reply: LocalReply, flags: number): void {
    if (this.#tries.chosen) this.#breakOff(flags, reply.details);
    else this.answer(reply);
  }
}

const CONTINUE: HeaderList = [':status', '100'];
const NO_FIELDS: HeaderList = [];
