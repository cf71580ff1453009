import type { SharedBytes } from '../net/byte-stream.ts';
import type { Attempt } from './attempt.ts';
import { ReplayBody } from './replay-body.ts';

/** The body of a request on its way to the try that goes on, and what is kept of it for another one. */
export class RequestBody {
  /** Its beginning: all that came so far, as long as another try may need it. */
  kept: ReplayBody | undefined;
  #lost = false;

  /** @param keep whether there may be another try. */
  constructor(keep: boolean) {
    if (keep) this.kept = new ReplayBody();
  }

  /** A part is gone that another try would need. */
  get lost(): boolean {
    return this.#lost;
  }

  get isEmpty(): boolean {
    return this.kept === undefined || this.kept.length === 0;
  }

  capacity(attempt: Attempt | undefined): number {
    if (attempt?.caughtUp === true) return attempt.bodyCapacity();
    return this.kept === undefined ? 0 : this.kept.room;
  }

  /** @returns as ByteSink.onData(): what was sent, or is kept until it can be. */
  take(attempt: Attempt | undefined, bytes: SharedBytes, offset: number, length: number): number {
    const { kept } = this;
    if (attempt?.caughtUp !== true) {
      if (kept === undefined) return 0;
      const taken = Math.min(length, kept.room);
      kept.append(bytes, offset, taken);
      return taken;
    }
    if (kept === undefined) return attempt.write(bytes, offset, length);
    if (length > kept.room) {
      this.#lost = true;
      this.drop();
      return attempt.write(bytes, offset, length);
    }
    // Kept before it is written: what was written is the stream's to overwrite.
    const before = kept.length;
    kept.append(bytes, offset, length);
    const wrote = attempt.write(bytes, offset, length);
    kept.truncate(before + wrote);
    return wrote;
  }

  /** Nothing is needed for another try. Idempotent. */
  drop(): void {
    this.kept?.release();
    this.kept = undefined;
  }
}
