import { MeshError } from '../../base/errors.ts';
import { STATE_WAIT_MS, type DataParts } from '../parts.ts';
import type { Traced } from '../../mesh/proxy/access-log.ts';
import type { ConnectionEnds } from '../live-connection.ts';
import type { Admission, RefusalStatus } from './admission.ts';
import { logDecision } from './log-decision.ts';

export type Admitted = Extract<Admission, { kind: 'admit' }>;

/** A connection that was not admitted. */
export class RefusedError extends MeshError {
  readonly status: RefusalStatus;

  constructor(status: RefusalStatus, reason: string) {
    const [code, message] =
      status === 401
        ? ['ERR_POLICY', `connection closed due to policy rejection: ${reason}`]
        : ['ERR_REFUSED', `Cannot serve the connection: ${reason}`];
    super(code, status === 503 ? 'local' : 'downstream', message);
    this.status = status;
  }
}

/**
 * Asks until there is a decision: policies that the workload names and that have not arrived are waited for, and when
 * they do not come the connection is refused.
 *
 * @param live when its signal aborts there is nobody to admit.
 * @throws {RefusedError}
 */
export async function awaitAdmission(
  parts: DataParts,
  live: Readonly<{ signal: AbortSignal; ends: ConnectionEnds }> & Traced,
  decide: () => Admission,
): Promise<Admitted> {
  const { signal } = live;
  let decision = decide();
  if (decision.kind === 'wait') {
    const patience = AbortSignal.any([AbortSignal.timeout(STATE_WAIT_MS), signal]);
    const look = (): Admission | undefined => {
      decision = decide();
      return decision.kind === 'wait' ? undefined : decision;
    };
    await parts.waiters.until(look, patience);
    signal.throwIfAborted();
  }
  if (decision.kind !== 'wait' && decision.decision !== undefined)
    logDecision(parts.policyLog, decision.decision, live);
  if (decision.kind === 'admit') return decision;
  if (decision.kind === 'refuse') throw new RefusedError(decision.status, decision.reason);
  const missing = decision.policies.join(', ');
  throw new RefusedError(401, `policies have not arrived within ${STATE_WAIT_MS} ms: ${missing}`);
}

/**
 * For a live connection: why it is not permitted any more. Policies that are on their way close nothing, nor does it that
 * the service by whose name it was opened has changed.
 */
export function checkAdmission(decision: Admission): string | undefined {
  return decision.kind === 'refuse' && decision.status === 401 ? decision.reason : undefined;
}
