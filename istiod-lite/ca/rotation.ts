import { describeError } from '../../base/errors.ts';
import type { Clock } from '../../certs/clock.ts';
import type { RotationStep, SelfMadeCa } from './self-made.ts';

const HOUR_MS = 3_600_000;
/** Looked at this often, 10 % either way. */
const CHECK_MS = HOUR_MS;
const JITTER = 0.1;
/**
 * Of the longest lifetime that lies between two steps. Proxies renew at half; the rest is for a renewal that had to be
 * tried again.
 */
const GAP = 0.55;

/** What is to be done next, and when it may be at the soonest, as long as we are there to serve meanwhile. */
export type PlannedStep = Readonly<{ step: RotationStep; atMs: number }>;

export type RotationParts = Readonly<{
  selfMade: SelfMadeCa;
  rotate: (step: RotationStep) => Promise<void>;
  /** The longest lifetime of a certificate that may be asked for. */
  longestTtlMs: number;
  clock: Clock;
  onStep: (step: RotationStep) => void;
  onTrouble: (message: string) => void;
}>;

/**
 * Changes a self-made root before it ends, in three steps. Between two of them every proxy fetches the bundle of the step
 * before, so nobody ever shows a certificate whose root the other side does not know. Only time in which we served
 * counts: a proxy cannot fetch from a control plane that is down.
 */
export class RotationSchedule implements Disposable {
  readonly #parts: RotationParts;
  #lastMs: number;
  #cancel: () => void = () => undefined;
  #closed = false;

  constructor(parts: RotationParts) {
    this.#parts = parts;
    this.#lastMs = parts.clock.now();
  }

  /** Looks now, and every hour from now on. */
  async start(): Promise<void> {
    await this.#check();
    this.#plan();
  }

  next(): PlannedStep {
    const { selfMade, longestTtlMs, clock } = this.#parts;
    if (selfMade.phase === 'steady') return { step: 'begin', atMs: selfMade.rotationDueMs };
    const gapMs = GAP * Math.min(longestTtlMs, selfMade.lifeMs);
    const leftMs = gapMs - selfMade.servedMs - this.#elapsedMs();
    const step = selfMade.phase === 'begun' ? 'switch' : 'finish';
    return { step, atMs: clock.now() + Math.max(0, leftMs) };
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    this.#cancel();
  }

  /** Since the last look; nothing when that was longer ago than it can be: the machine slept, or its clock was set. */
  #elapsedMs(): number {
    const elapsedMs = this.#parts.clock.now() - this.#lastMs;
    return elapsedMs < 0 || elapsedMs > CHECK_MS * (1 + 2 * JITTER) ? 0 : elapsedMs;
  }

  #plan(): void {
    if (this.#closed) return;
    const { clock } = this.#parts;
    const delayMs = CHECK_MS * (1 - JITTER + 2 * JITTER * clock.random());
    this.#cancel = clock.schedule(delayMs, () => {
      void this.#check().then(() => {
        this.#plan();
      });
    });
  }

  /** Never rejects: what fails is tried again at the next look. */
  async #check(): Promise<void> {
    const { selfMade, clock, rotate, onStep, onTrouble } = this.#parts;
    try {
      const elapsedMs = this.#elapsedMs();
      this.#lastMs = clock.now();
      selfMade.addServed(elapsedMs);
      const { step, atMs } = this.next();
      if (atMs > clock.now()) return;
      await rotate(step);
      onStep(step);
    } catch (error) {
      onTrouble(`Cannot change the root: ${describeError(error)}`);
    }
  }
}
