import type { PolicyRequest } from '../mesh/model/http-policy-values.ts';
import type { HttpRequest } from './http-request.ts';

/** Others wait no longer than this for a look at all requests. */
const SLICE_MS = 1;

/** The requests that were let in and have not ended, with what policy saw of each. */
export class RunningRequests {
  readonly #running = new Map<HttpRequest, PolicyRequest>();

  add(request: HttpRequest, seen: PolicyRequest): void {
    if (!request.over) this.#running.set(request, seen);
  }

  delete(request: HttpRequest): void {
    this.#running.delete(request);
  }

  /**
   * Breaks off what is no longer permitted: a stream or a WebSocket may run for days (attack A8).
   *
   * @param refusal why a request may not go on; `undefined` when it may.
   * @param pause awaited after each millisecond of work; one macrotask.
   */
  async recheck(
    refusal: (request: HttpRequest, seen: PolicyRequest) => string | undefined,
    pause: () => Promise<void>,
  ): Promise<void> {
    let sliceEndsMs = performance.now() + SLICE_MS;
    for (const [request, seen] of [...this.#running]) {
      const details = this.#running.has(request) ? refusal(request, seen) : undefined;
      if (details !== undefined) request.cut(details);
      if (performance.now() <= sliceEndsMs) continue;
      await pause();
      sliceEndsMs = performance.now() + SLICE_MS;
    }
  }
}
