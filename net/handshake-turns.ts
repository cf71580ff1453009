import { performance } from 'node:perf_hooks'; // the global of that name is a getter
import { runNextTurn, type TurnTask } from './reactor.ts';

/**
 * 1 ms of each turn, about three first flights of a server (0.3 ms each): what everything else that is going on waits at
 * most, however many clients begin at once (attack T14).
 */
const HANDSHAKE_MS_PER_TURN = 1;

/** A handshake that has input to work on. */
export interface HandshakeStep {
  shakeHands(): void;
}

/**
 * Lets the handshakes that a thread serves take their steps in the order in which they could, within a budget a turn.
 * One step is public-key cryptography and cannot be divided; the last one of a turn may go beyond the budget.
 */
class HandshakeTurns implements TurnTask {
  readonly #waiting: HandshakeStep[] = [];
  #spentMs = 0;
  #taskQueued = false;

  /** Now, or in a later turn. */
  take(step: HandshakeStep): void {
    if (this.#waiting.length > 0 || this.#spentMs >= HANDSHAKE_MS_PER_TURN)
      this.#waiting.push(step);
    else this.#run(step);
    this.#queueTask();
  }

  runTask(): void {
    this.#taskQueued = false;
    this.#spentMs = 0;
    if (this.#waiting.length === 0) return;
    this.#queueTask();
    while (this.#spentMs < HANDSHAKE_MS_PER_TURN) {
      const step = this.#waiting.shift();
      if (step === undefined) return;
      this.#run(step);
    }
  }

  #queueTask(): void {
    if (this.#taskQueued) return;
    this.#taskQueued = true;
    runNextTurn(this);
  }

  #run(step: HandshakeStep): void {
    const beganMs = performance.now();
    step.shakeHands();
    this.#spentMs += performance.now() - beganMs;
  }
}

const turns = new HandshakeTurns();

/** Has `step` take its turn among the handshakes that this thread serves: at once where the budget allows it. */
export function takeHandshakeTurn(step: HandshakeStep): void {
  turns.take(step);
}
