import type { HttpDecision } from '../mesh/model/compiled-http-policies.ts';
import type { PolicyRequest } from '../mesh/model/http-policy-values.ts';
import { policyRefusal } from './authorize.ts';
import type { HttpRequest } from './http-request.ts';
import type { Verdict } from './request-parts.ts';

/** Others wait no longer than this for a look at all requests. */
const SLICE_MS = 1;

/** The requests that were let in and have not ended, with what policy saw of each. */
export class RunningRequests {
  readonly #running = new Map<HttpRequest, PolicyRequest>();

  /** What a decision of policy means for the request that it is about; one that is let in is among these. */
  judge(request: HttpRequest, seen: PolicyRequest, decision: HttpDecision): Verdict {
    if (decision.by !== undefined) request.policy = decision.by.policy;
    if (decision.kind === 'allow') {
      if (!request.over) this.#running.set(request, seen);
      return undefined;
    }
    const { status, body, details } = policyRefusal(decision);
    return { status, flags: 0, body, details };
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
