import { findHeader, type HeaderList } from '../net/h2/headers.ts';
import { httpStatusFor } from '../mesh/model/grpc-http-status.ts';
import type { HttpRule } from '../mesh/model/http-route.ts';
import { Attempt, type AttemptOwner } from './attempt.ts';
import type { Backend, NoRoom, TryOutcome } from './backend.ts';
import { timeLeftMs } from './exchange-limits.ts';
import { grpcStatusOf } from './grpc.ts';
import type { HttpRequest } from './http-request.ts';
import { CONCURRENCY_LIMIT, failureReply, type LocalReply, NO_HOST } from './local-reply.ts';
import type { RequestParts } from './request-parts.ts';
import { UO, URX } from './response-flags.ts';
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
import { Deadline, type DeadlineOwner } from './timeout.ts';
import type { PendingConnection } from './upstream/endpoint-pool.ts';
import type { UpstreamConnection } from './upstream/connection.ts';
import type { UpstreamEndpoint } from './upstream/endpoint.ts';
import type { UpstreamFailure } from './upstream/failure.ts';

const NOWHERE: readonly UpstreamEndpoint[] = [];

/** Whose tries they are: the one who carries the request and its answer. */
export interface TriesOwner extends AttemptOwner {
  /** A part of the body is gone that another try would need. */
  readonly bodyLost: boolean;
  /** The head has been brought into the form of one version of HTTP. */
  readonly isUpgrade: boolean;
  /** Nothing is left to try. */
  answer(reply: LocalReply): void;
  /** The one that was chosen has failed. */
  onBroken(failure: UpstreamFailure): void;
}

/**
 * The tries of one request at the endpoints of its backend: one after another, or beside those that are over their time.
 * They end with the one whose answer is chosen, or with the owner's.
 */
export class Tries implements DeadlineOwner {
  readonly #owner: TriesOwner;
  readonly #request: HttpRequest;
  #backend: Backend;
  #hasFallenBack = false;
  readonly #parts: RequestParts;
  readonly #plan: RetryPlan;
  readonly #ruleTimeoutMs: number | undefined;
  #tried: UpstreamEndpoint[] | undefined;
  #retries = 0;
  /** A retry has been granted whose try has not begun. */
  #granted = false;
  /** The try that goes on: the last that was begun, then the chosen one. */
  #attempt: Attempt | undefined;
  /** Tries that are over their time and go on beside it. */
  #hedged: Attempt[] | undefined;
  #chosen = false;
  #ended = false;
  #pause: Deadline | undefined;

  constructor(
    owner: TriesOwner,
    request: HttpRequest,
    rule: HttpRule,
    backend: Backend,
    parts: RequestParts,
  ) {
    this.#owner = owner;
    this.#request = request;
    this.#backend = backend;
    this.#parts = parts;
    const { head } = request;
    const plan = retryPlan(rule.retry, head.protocol === '' ? head.method : 'CONNECT');
    this.#plan = withBackendRetries(plan, backend.retryPolicy);
    this.#ruleTimeoutMs = rule.timeoutMs;
  }

  /** Whether there may be more than one. */
  get mayRetry(): boolean {
    return this.#plan.attempts > 0;
  }

  /** The one that goes on. */
  get current(): Attempt | undefined {
    return this.#attempt;
  }

  /** One is: its answer is the client's, and nothing is retried any more. */
  get chosen(): boolean {
    return this.#chosen;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** @returns whether there was somewhere to try. */
  begin(isRetry: boolean): boolean {
    const request = this.#request;
    this.#granted = false;
    const endpoint = this.#backend.chooseEndpoint(request, this.#tried ?? NOWHERE);
    const noRoom = endpoint && this.#backend.beginTry(endpoint);
    if (endpoint === undefined || noRoom !== undefined) {
      if (isRetry) this.#backend.endRetry();
      if (!this.#isTrying && !this.#fallBack()) this.#owner.answer(replyWithout(noRoom));
      return false;
    }
    request.attempts++;
    request.endpoint = endpoint;
    const attempt = new Attempt(this.#owner, endpoint, isRetry);
    this.#attempt = attempt;
    if (request.ended) this.limit(attempt);
    attempt.start();
    return true;
  }

  /** Begins anew at the backend that stands in for this one. @returns false where there is none; else the request is cared for. */
  #fallBack(): boolean {
    if (this.#hasFallenBack || this.#owner.bodyLost) return false;
    const request = this.#request;
    const fallback = this.#backend.fallback(request);
    if (fallback === undefined) return false;
    if (this.#owner.isUpgrade && fallback.version !== this.#backend.version) return false;
    this.#hasFallenBack = true;
    this.#backend = fallback;
    this.#tried = undefined;
    request.backendName = fallback.name;
    this.begin(false);
    return true;
  }

  connect(attempt: Attempt): UpstreamConnection | PendingConnection | undefined {
    const { version, limits } = this.#backend;
    return this.#parts.pool.acquire(attempt.endpoint, version, limits, attempt);
  }

  /** The time of one try begins when all of the request is here: a slow client is not the endpoint's fault. */
  limit(attempt: Attempt): void {
    const { perTryTimeoutMs } = this.#plan;
    if (perTryTimeoutMs === undefined || this.#chosen || attempt.deadline !== undefined) return;
    attempt.deadline = new Deadline(attempt);
    this.#parts.deadlines.set(attempt.deadline, perTryTimeoutMs);
  }

  /** Tells those who judge endpoints how a try went. */
  judge(attempt: Attempt, outcome: TryOutcome): void {
    if (this.#backend.judge(attempt.endpoint, outcome)) this.#request.ejections++;
  }

  // How a try ends.

  onFailure(attempt: Attempt, failure: UpstreamFailure): void {
    this.#leave(attempt);
    if (this.#ended) return;
    if (attempt.transportFailure !== '') this.#request.transportFailure = attempt.transportFailure;
    if (failure !== 'overflow' && failure !== 'local-reset')
      this.judge(attempt, failure === 'connection-failure' ? 'connect-failure' : 'reset');
    if (this.#chosen) {
      this.#owner.onBroken(failure);
      return;
    }
    if (this.#isTrying) return; // another one goes on
    if (failure === 'overflow' && this.#fallBack()) return;
    if (isRetriableFailure(this.#plan, failure, attempt.sent) && this.#takeRetry())
      this.#retryLater(attempt);
    else this.#owner.answer(failureReply(failure, attempt.tlsFailure));
  }

  onTryTimeout(attempt: Attempt): void {
    this.judge(attempt, 'timeout');
    const mayHedge = this.#plan.hedges && attempt === this.#attempt;
    if (mayHedge && this.#takeRetry()) {
      (this.#hedged ??= []).push(attempt);
      (this.#tried ??= []).push(attempt.endpoint);
      this.#attempt = undefined;
      // With nowhere else to go it has its time once more.
      if (!this.begin(true) && attempt.deadline !== undefined)
        this.#parts.deadlines.set(attempt.deadline, this.#plan.perTryTimeoutMs ?? 0);
      return;
    }
    attempt.close();
    this.#leave(attempt);
    if (this.#isTrying) return;
    const isRetriable = isRetriableFailure(this.#plan, 'per-try-timeout', attempt.sent);
    if (isRetriable && !mayHedge && this.#takeRetry()) this.#retryLater(attempt);
    else this.#owner.answer(failureReply('per-try-timeout'));
  }

  /** Decides about another try; true when this response is not the one for the client. */
  retriesResponse(
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
    this.judge(attempt, grpcStatus === undefined ? status : httpStatusFor(grpcStatus));
    attempt.close();
    this.#leave(attempt);
    if (isLone) this.#retryLater(attempt, asked);
    return true;
  }

  /** This is the one: the others are given up. */
  choose(attempt: Attempt): void {
    this.#chosen = true;
    if (attempt.deadline !== undefined) this.#parts.deadlines.clear(attempt.deadline);
    if (this.#hedged === undefined) return;
    for (const other of [...this.#hedged, this.#attempt]) {
      if (other === attempt || other === undefined) continue;
      other.close();
      this.#leave(other);
    }
    this.#hedged = undefined;
    this.#attempt = attempt;
  }

  /** Gives up all of them; end() follows. */
  close(): void {
    for (const attempt of this.#hedged ?? []) attempt.close();
    this.#attempt?.close();
  }

  /** Nothing is tried any more. @returns false when that was so before. */
  end(): boolean {
    if (this.#ended) return false;
    this.#ended = true;
    for (const attempt of this.#hedged ?? []) this.#leave(attempt);
    if (this.#attempt !== undefined) this.#leave(this.#attempt);
    if (this.#pause !== undefined) this.#parts.deadlines.clear(this.#pause);
    if (this.#granted) this.#backend.endRetry();
    return true;
  }

  /** The pause before a retry is over. */
  onDeadline(): void {
    if (!this.#ended) this.begin(true);
  }

  get #isTrying(): boolean {
    return this.#attempt !== undefined || (this.#hedged !== undefined && this.#hedged.length > 0);
  }

  #timeLeftMs(): number {
    return timeLeftMs(this.#request, this.#ruleTimeoutMs) ?? Infinity;
  }

  /** The endpoint has this try no more. */
  #leave(attempt: Attempt): void {
    if (attempt.deadline !== undefined) this.#parts.deadlines.clear(attempt.deadline);
    this.#backend.endTry(attempt.endpoint, attempt.latencyMs);
    if (attempt.isRetry) this.#backend.endRetry();
    if (this.#attempt === attempt) this.#attempt = undefined;
    else this.#hedged = this.#hedged?.filter((other) => other !== attempt);
  }

  /** Whether there is another try; says in the request's flags why not. */
  #takeRetry(): boolean {
    if (this.#owner.bodyLost) return false;
    if (this.#retries >= this.#plan.attempts) {
      if (this.mayRetry) this.#request.flags |= URX;
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
}

/** What a client gets where no try could begin: no endpoint is there, or none has room. */
function replyWithout(noRoom: NoRoom | undefined): LocalReply {
  if (noRoom === undefined) return NO_HOST;
  return noRoom === 'overflow' ? failureReply('overflow') : CONCURRENCY_LIMIT;
}
