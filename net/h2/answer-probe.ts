import type { Clock } from '../clock.ts';

/**
 * Whether the peer answers soon, for whoever would rather go another way than wait: one that has vanished does not, nor
 * one whose answers stand behind much data on a slow way. A stream that is not answered is asked after with a PING, and
 * only its answer counts then: other bytes may trickle in all the time.
 */
export class AnswerProbe {
  readonly #sendPing: () => void;
  readonly #clock: Clock;
  /** The stream that is waited for: the first one since another was answered. */
  #streamId = 0;
  /** When that was opened; when the PING was sent that has no answer yet. */
  #askedMs: number | undefined;
  #probedMs: number | undefined;

  constructor(sendPing: () => void, clock: Clock) {
    this.#sendPing = sendPing;
    this.#clock = clock;
  }

  /** A stream is opened, which a peer answers soon. */
  onAsk(streamId: number): void {
    if (this.#askedMs !== undefined) return;
    this.#streamId = streamId;
    this.#askedMs = this.#clock.now();
  }

  /** A stream is answered. Late answers to those before tell nothing of the one that is waited for. */
  onAnswer(streamId: number): void {
    if (streamId >= this.#streamId) this.#askedMs = undefined;
  }

  /** The PING is answered. */
  onPong(): void {
    this.#askedMs = undefined;
    this.#probedMs = undefined;
  }

  /**
   * Whether the peer has not answered a stream for longer than `patienceMs`, and then a PING for as long neither. There is no timer: the PING is sent by a call that finds the first to be true.
   */
  isUnresponsive(patienceMs: number): boolean {
    if (this.#probedMs !== undefined) return this.#clock.now() - this.#probedMs > patienceMs;
    if (this.#askedMs === undefined || this.#clock.now() - this.#askedMs <= patienceMs)
      return false;
    this.#probedMs = this.#clock.now();
    this.#sendPing();
    return false;
  }
}
