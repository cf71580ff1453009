import { NOWHERE, Roster } from '../base/roster.ts';
import type { HttpDecision } from '../mesh/model/compiled-http-policies.ts';
import type { PolicyRequest } from '../mesh/model/http-policy-values.ts';
import { policyRefusal } from './authorize.ts';
import type { HttpRequest, RunningRequest } from './http-request.ts';
import type { Verdict } from './request-parts.ts';

/** Others wait no longer than this for a look at all requests. */
const SLICE_MS = 1;

/** The requests that were let in and have not ended. */
export class RunningRequests {
  readonly #running = new Roster<RunningRequest>();

  /** What a decision of policy means for the request that it is about; one that is let in is among these. */
  judge(request: HttpRequest, seen: PolicyRequest, decision: HttpDecision): Verdict {
    if (decision.by !== undefined) request.policy = decision.by.policy;
    if (decision.kind === 'allow') {
      if (!request.over) {
        this.delete(request); // of what policy saw, the last counts
        request.running = { request, seen, seat: NOWHERE };
        this.#running.add(request.running);
      }
      return undefined;
    }
    const { status, body, details } = policyRefusal(decision);
    return { status, flags: 0, body, details };
  }

  delete(request: HttpRequest): void {
    if (request.running !== undefined) this.#running.delete(request.running);
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
    for (const running of this.#running.all()) {
      const { request, seen } = running;
      const details = this.#running.has(running) ? refusal(request, seen) : undefined;
      if (details !== undefined) request.cut(details);
      if (performance.now() <= sliceEndsMs) continue;
      await pause();
      sliceEndsMs = performance.now() + SLICE_MS;
    }
  }
}
