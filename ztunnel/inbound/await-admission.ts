import type { MeshError } from '../../base/errors.ts';
import type { DemandKey } from '../../mesh/proxy/state/answered.ts';
import { policyChange } from '../../mesh/proxy/connections.ts';
import { RefusedError } from '../../mesh/proxy/refused-error.ts';
import { askInTime, describeNotTold } from '../ask.ts';
import { STATE_WAIT_MS, type DataParts } from '../parts.ts';
import type { Traced } from '../../mesh/proxy/access-log.ts';
import type { ConnectionEnds } from '../../mesh/proxy/live-connection.ts';
import type { Admission } from './admission.ts';
import { logDecision } from './log-decision.ts';

export type Admitted = Extract<Admission, { kind: 'admit' }>;

/** What deciding needs of a live connection. */
type Waiting = Readonly<{ podUid: string; signal: AbortSignal; ends: ConnectionEnds }> & Traced;

/**
 * Asks until there is a decision: what the control plane must be asked for is asked for, policies that the workload names
 * and that have not arrived are waited for, and when they do not come the connection is refused.
 *
 * @param live when its signal aborts there is nobody to admit.
 * @throws {RefusedError}
 */
export async function awaitAdmission(
  parts: DataParts,
  live: Waiting,
  decide: () => Admission,
): Promise<Admitted> {
  let decision = decide();
  if (isOpen(decision)) decision = await awaitDecision(parts, live, decide);
  if (isOpen(decision)) throw undecided(decision);
  if (decision.decision !== undefined) logDecision(parts.policyLog, decision.decision, live);
  if (decision.kind === 'admit') return decision;
  throw new RefusedError(decision.status, decision.reason);
}

/** The first decision, or what is still missing after 5 s. */
async function awaitDecision(
  parts: DataParts,
  { podUid, signal }: Waiting,
  decide: () => Admission,
): Promise<Admission> {
  const patience = AbortSignal.any([AbortSignal.timeout(STATE_WAIT_MS), signal]);
  const look = (): Admission | undefined => {
    const decision = decide();
    return decision.kind === 'wait' ? undefined : decision;
  };
  for (;;) {
    const decision = (await parts.waiters.until(look, patience)) ?? decide();
    const asked =
      decision.kind === 'ask' &&
      (await askInTime(parts, { podUid, side: 'inbound' }, decision.key, patience));
    signal.throwIfAborted();
    if (!asked) return decision;
  }
}

type Open = Extract<Admission, { kind: 'ask' | 'wait' }>;

function isOpen(admission: Admission): admission is Open {
  return admission.kind === 'ask' || admission.kind === 'wait';
}

function undecided(open: Open): RefusedError {
  if (open.kind === 'ask') return new RefusedError(503, describeNotTold(open.key));
  const missing = open.policies.join(', ');
  return new RefusedError(401, `policies have not arrived within ${STATE_WAIT_MS} ms: ${missing}`);
}

/**
 * For a live connection: why it is not permitted any more. Policies that are on their way close nothing, nor does it that
 * the service by whose name it was opened has changed. What the control plane must be asked for is asked for, and the
 * connection is cut when the answer does not permit it, or does not come.
 */
export function recheckAdmission(
  parts: DataParts,
  live: Waiting & Readonly<{ cut: (error: MeshError) => void }>,
  decide: () => Admission,
): string | undefined {
  const admission = decide();
  if (admission.kind === 'ask') void recheckWhenTold(parts, live, admission.key, decide);
  return admission.kind === 'refuse' && admission.status === 401 ? admission.reason : undefined;
}

/** Never rejects. */
async function recheckWhenTold(
  parts: DataParts,
  live: Parameters<typeof recheckAdmission>[1],
  key: DemandKey,
  decide: () => Admission,
): Promise<void> {
  const account = { podUid: live.podUid, side: 'inbound' } as const;
  const told = await askInTime(parts, account, key, live.signal);
  if (live.signal.aborted) return;
  const reason = told ? recheckAdmission(parts, live, decide) : describeNotTold(key);
  if (reason !== undefined) live.cut(policyChange(reason));
}
