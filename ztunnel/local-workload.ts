import { MeshError } from '../base/errors.ts';
import type { Workload, WorkloadUid } from '../mesh/model/workload.ts';
import { demandKeyOf } from '../mesh/proxy/state/answered.ts';
import { STATE_WAIT_MS, type DataParts, type PodContext } from './parts.ts';

/** The local workload, or undefined when it does not come while `signal` lets us wait; a pod that has just been enrolled may be unknown for a moment. */
export async function findLocalWorkload(
  parts: DataParts,
  pod: PodContext,
  signal: AbortSignal = pod.gone,
): Promise<Workload | undefined> {
  const look = (): Workload | undefined => parts.state.localWorkload(pod);
  const found = look();
  if (found !== undefined) return found;
  // A control plane sends the pods of a node unasked; whether this one does is not to be relied on.
  const { namespace, name } = pod;
  const uid = `${parts.clusterId}//Pod/${namespace}/${name}` as WorkloadUid;
  parts.demand?.want({ podUid: pod.uid, side: 'outbound' }, demandKeyOf(uid));
  const patience = AbortSignal.any([AbortSignal.timeout(STATE_WAIT_MS), signal]);
  return await parts.waiters.until(look, patience);
}

/** For the record of a connection whose pod the control plane has not told of. */
export function unknownWorkload(pod: PodContext): MeshError {
  const name = `${pod.namespace}/${pod.name} (${pod.serviceAccount})`;
  return new MeshError(
    'ERR_UNKNOWN_WORKLOAD',
    'local',
    `Cannot serve ${name}: the control plane has not told of it within ${STATE_WAIT_MS} ms`,
  );
}
