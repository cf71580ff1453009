import { ENHANCE_YOUR_CALM, Http2Violation } from './errors.ts';
import {
  EMPTY_FRAMES_PER_SECOND,
  FRAMES_UNDER_WAY,
  MAX_EXCUSED_FRAMES,
  PINGS_PER_SECOND,
  PRIORITIES_PER_SECOND,
  SETTINGS_PER_SECOND,
  STRAY_FRAMES_PER_SECOND,
  UNANSWERED_RESETS_PER_SECOND,
} from './limits.ts';
import type { Clock } from '../clock.ts';

/** What costs the peer little and us more, each with how often one second may hold it. */
const limits = {
  'streams reset before an answer': UNANSWERED_RESETS_PER_SECOND,
  pings: PINGS_PER_SECOND,
  'settings frames': SETTINGS_PER_SECOND,
  'empty frames': EMPTY_FRAMES_PER_SECOND,
  'priority frames': PRIORITIES_PER_SECOND,
  'frames of no use': STRAY_FRAMES_PER_SECOND,
} as const;

export type Abuse = keyof typeof limits;

const SECOND_MS = 1000;

/** Counts one connection's cheap frames; a benign peer never comes near the limits. */
export class AbuseCounter {
  readonly #clock: Clock;
  #counts: Partial<Record<Abuse, number>> = {};
  #secondBegan = -Infinity;
  #excused = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** We reset a stream that its peer may be sending on: what is under way then is no abuse. */
  excuseStream(): void {
    this.#excuse(FRAMES_UNDER_WAY);
  }

  /**
   * A stream was answered and has ended in order: its peer may reset it yet. Servers that answer before they have read the
   * request do so (RFC 9113 section 8.1), and clients that let go of a stream; one frame for each is all they need.
   */
  excuseReset(): void {
    this.#excuse(1);
  }

  #excuse(frames: number): void {
    this.#excused = Math.min(this.#excused + frames, MAX_EXCUSED_FRAMES);
  }

  /** @throws {Http2Violation} ENHANCE_YOUR_CALM once there are too many in one second. */
  count(what: Abuse): void {
    if (what === 'frames of no use' && this.#excused > 0) {
      this.#excused--;
      return;
    }
    const now = this.#clock.now();
    if (now - this.#secondBegan >= SECOND_MS) {
      this.#secondBegan = now;
      this.#counts = {};
    }
    const count = (this.#counts[what] ?? 0) + 1;
    this.#counts[what] = count;
    if (count > limits[what])
      throw new Http2Violation(ENHANCE_YOUR_CALM, `more than ${limits[what]} ${what} in a second`);
  }
}
