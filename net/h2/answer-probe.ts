import type { Clock } from '../clock.ts';

/**
 * Whether the peer answers soon, for whoever would rather go another way than wait: one that has vanished does not, nor
 * one whose answers stand behind much data on a slow way. A peer that has left a stream without an answer for as long as
 * one is patient is asked by a PING, and so is one of whom no byte has come since DATA was sent: who comes when a way is
 * free again then knows already of the sessions that were interrupted on it. Only the PING's answer counts from there on:
 * other bytes may trickle in all the time.
 */
export class AnswerProbe {
  readonly #sendPing: () => void;
  readonly #clock: Clock;
  readonly #patienceMs: number;
  /** The stream that is waited for: the first one since another was answered. */
  #streamId = 0;
  // When things were done that have no answer yet; Infinity: nothing was. Always a double, so that V8 allocates none.
  #askedMs = Infinity;
  #sentMs = Infinity;
  #probedMs = Infinity;
  /** How to end the timer; one for all that is asked meanwhile, at most one in `patienceMs`. */
  #cancel: (() => void) | undefined;

  /** @param patienceMs 0 for a peer that one waits for: it is never asked. */
  constructor(sendPing: () => void, clock: Clock, patienceMs: number) {
    this.#sendPing = sendPing;
    this.#clock = clock;
    this.#patienceMs = patienceMs;
  }

  /** A stream is opened, which a peer answers soon. */
  onAsk(streamId: number): void {
    if (this.#askedMs !== Infinity || this.#patienceMs === 0) return;
    this.#streamId = streamId;
    this.#askedMs = this.#clock.now();
    this.#cancel ??= this.#clock.after(this.#patienceMs, this.#onTimer);
  }

  /** A stream is answered. Late answers to those before tell nothing of the one that is waited for. */
  onAnswer(streamId: number): void {
    if (streamId >= this.#streamId) this.#askedMs = Infinity;
  }

  /** DATA is sent. */
  onSend(): void {
    if (this.#sentMs !== Infinity || this.#patienceMs === 0) return;
    this.#sentMs = this.#clock.now();
    this.#cancel ??= this.#clock.after(this.#patienceMs, this.#onTimer);
  }

  /** Any byte has come. */
  onInput(): void {
    this.#sentMs = Infinity;
  }

  /** The PING is answered. */
  onPong(): void {
    this.#askedMs = Infinity;
    this.#probedMs = Infinity;
  }

  /** Whether the peer has left us without an answer for longer than one is patient, and then the PING for as long as well. */
  isUnresponsive(): boolean {
    return this.#probedMs !== Infinity && this.#clock.now() - this.#probedMs > this.#patienceMs;
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#probedMs = Infinity;
  }

  readonly #onTimer = (): void => {
    this.#cancel = undefined;
    const sinceMs = Math.min(this.#askedMs, this.#sentMs);
    if (sinceMs === Infinity || this.#probedMs !== Infinity) return;
    const restMs = sinceMs + this.#patienceMs - this.#clock.now();
    if (restMs > 0) {
      this.#cancel = this.#clock.after(restMs, this.#onTimer);
      return;
    }
    this.#probedMs = this.#clock.now();
    this.#sendPing();
  };
}
