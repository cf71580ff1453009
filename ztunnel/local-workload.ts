import { MeshError } from '../base/errors.ts';
import type { Workload } from '../mesh/model/workload.ts';
import { STATE_WAIT_MS, type DataParts, type PodContext } from './parts.ts';

/** The local workload; a pod that has just been enrolled may be unknown for a moment. */
export async function findLocalWorkload(
  parts: DataParts,
  pod: PodContext,
): Promise<Workload | undefined> {
  const look = (): Workload | undefined => parts.state.localWorkload(pod);
  const found = look();
  if (found !== undefined) return found;
  const signal = AbortSignal.any([AbortSignal.timeout(STATE_WAIT_MS), pod.gone]);
  return await parts.waiters.until(look, signal);
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
