import { NOWHERE, type Seated } from '../base/roster.ts';

/**
 * Tells one party that what it does is not wanted any more. An AbortSignal does so by an event, for which each has several
 * objects, and one that follows two others is known to the collector besides: of a TLS session that is served that was 2 %.
 */
export class Canceller implements Seated {
  seat = NOWHERE;
  #cancelled: { readonly cause: unknown } | undefined;
  #onCancel: ((cause: unknown) => void) | undefined;

  /** Who is told, once; at once when it was cancelled before. `undefined`: nobody from here on. */
  tell(onCancel: ((cause: unknown) => void) | undefined): void {
    this.#onCancel = onCancel;
    if (this.#cancelled !== undefined) this.#tell(this.#cancelled.cause);
  }

  /** Only the first time counts. */
  cancel(cause: unknown): void {
    if (this.#cancelled !== undefined) return;
    this.#cancelled = { cause };
    this.#tell(cause);
  }

  #tell(cause: unknown): void {
    const onCancel = this.#onCancel;
    this.#onCancel = undefined;
    onCancel?.(cause);
  }
}
