import type { Pod } from '../../mesh/kubernetes/core.ts';

/** Whether a pod takes new connections: one that is going does not, whatever its probes say. */
export function isReady(pod: Pod): boolean {
  if (pod.metadata.deletionTimestamp !== '') return false;
  return pod.status.conditions.some(({ type, status }) => type === 'Ready' && status === 'True');
}
