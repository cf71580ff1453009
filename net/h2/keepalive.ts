import type { Clock } from '../clock.ts';

export interface KeepaliveOwner {
  sendKeepalivePing(): void;
  /** No byte came in answer to it. */
  onDead(): void;
}

/**
 * A timer that is later than this tells that it was this process that stood still: it was stopped, or the machine slept. What came
 * meanwhile has not been read, so the peer gets as long again.
 */
const STANDSTILL_MS = 1000;

/**
 * Finds out whether the peer is still there: after a time without input a PING, after another the verdict. Any input
 * counts as an answer, so that a PONG behind much data is not missed. One timer, however much goes on.
 */
export class Keepalive {
  readonly #owner: KeepaliveOwner;
  readonly #clock: Clock;
  readonly #idleMs: number;
  readonly #timeoutMs: number;
  #lastInput: number;
  #pinged = false;
  #dueMs = 0;
  #cancel: (() => void) | undefined;

  /** @param idleMs 0 for no keepalive. */
  constructor(owner: KeepaliveOwner, clock: Clock, idleMs: number, timeoutMs: number) {
    this.#owner = owner;
    this.#clock = clock;
    this.#idleMs = idleMs;
    this.#timeoutMs = timeoutMs;
    this.#lastInput = clock.now();
    if (idleMs > 0) this.#arm(idleMs);
  }

  onInput(): void {
    this.#pinged = false;
    this.#lastInput = this.#clock.now();
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #arm(ms: number): void {
    this.#dueMs = this.#clock.now() + ms;
    this.#cancel = this.#clock.after(ms, this.#onTimer);
  }

  readonly #onTimer = (): void => {
    if (this.#pinged) {
      if (this.#clock.now() - this.#dueMs > STANDSTILL_MS) {
        this.#arm(STANDSTILL_MS);
        return;
      }
      this.#cancel = undefined;
      this.#owner.onDead();
      return;
    }
    const left = this.#lastInput + this.#idleMs - this.#clock.now();
    if (left > 0) {
      this.#arm(left);
      return;
    }
    this.#pinged = true;
    this.#arm(this.#timeoutMs);
    this.#owner.sendKeepalivePing();
  };
}
