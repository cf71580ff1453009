import type { ServerExchange } from '../net/http/exchange.ts';
import { parseGrpcTimeout } from './grpc.ts';
import type { HttpRequest } from './http-request.ts';
import { Deadline, type Deadlines, type DeadlineOwner, requestTimeoutMs } from './timeout.ts';

/** Who ends an exchange whose time is up. */
export interface LimitedExchange {
  onTimeout(): void;
  onIdle(): void;
}

/** How long an exchange may take in all, and how long nothing may move on it. */
export class ExchangeLimits implements DeadlineOwner {
  readonly #owner: LimitedExchange;
  readonly #exchange: ServerExchange;
  readonly #deadlines: Deadlines;
  readonly #idleMs: number;
  readonly #timeout: Deadline | undefined;
  readonly #idle: Deadline | undefined;
  /** What had moved when the idle time began. */
  #movedBytes = 0;

  /** @param timeoutMs what is left of it; `undefined`: without end, as `idleMs`. */
  constructor(
    owner: LimitedExchange,
    exchange: ServerExchange,
    deadlines: Deadlines,
    limits: Readonly<{ timeoutMs: number | undefined; idleMs: number | undefined }>,
  ) {
    const { timeoutMs, idleMs } = limits;
    this.#owner = owner;
    this.#exchange = exchange;
    this.#deadlines = deadlines;
    this.#idleMs = idleMs ?? 0;
    if (timeoutMs !== undefined) {
      this.#timeout = new Deadline(this);
      deadlines.set(this.#timeout, Math.max(0, timeoutMs));
    }
    if (idleMs !== undefined) {
      this.#idle = new Deadline(this);
      deadlines.set(this.#idle, idleMs);
    }
  }

  /** It may go on for as long as something moves: another protocol has been granted. */
  liftTimeout(): void {
    if (this.#timeout !== undefined) this.#deadlines.clear(this.#timeout);
  }

  /** It has ended. */
  clear(): void {
    this.liftTimeout();
    if (this.#idle !== undefined) this.#deadlines.clear(this.#idle);
  }

  onDeadline(deadline: Deadline): void {
    if (deadline !== this.#idle) {
      this.#owner.onTimeout();
      return;
    }
    // Whether it was idle is found out here, so that nothing is to be noted for each chunk.
    const movedBytes = this.#exchange.bytesRead + this.#exchange.bytesWritten;
    if (movedBytes === this.#movedBytes) {
      this.#owner.onIdle();
      return;
    }
    this.#movedBytes = movedBytes;
    this.#deadlines.set(deadline, this.#idleMs);
  }
}

/** Of the request's time, which began with it, whatever came before this; `undefined`: without end. */
export function timeLeftMs(
  { head, startMs }: HttpRequest,
  ruleMs: number | undefined,
): number | undefined {
  const grpcMs = head.isGrpc ? parseGrpcTimeout(head.grpcTimeout) : undefined;
  const timeoutMs = requestTimeoutMs(ruleMs, grpcMs);
  return timeoutMs === undefined ? undefined : timeoutMs - (performance.now() - startMs);
}
