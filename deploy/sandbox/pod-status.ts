import { tryParseIpAddress, type IpAddress } from '../../base/address.ts';
import type { KubernetesObject } from './api.ts';
import { isRecord } from './documents.ts';
import { timestamp } from './store.ts';

export type ContainerState = Readonly<{
  name: string;
  image: string;
  state: 'waiting' | 'running' | 'terminated';
  /** As Kubernetes names them: PodInitializing, CrashLoopBackOff, Completed, Error. */
  reason: string;
  message: string;
  exitCode: number;
  startedAt: string;
  ready: boolean;
  restarts: number;
}>;

export type PodPhase = 'Pending' | 'Running' | 'Succeeded' | 'Failed';

export type PodState = Readonly<{
  phase: PodPhase;
  ips: readonly IpAddress[];
  hostIps: readonly IpAddress[];
  startedAt: string;
  initialized: boolean;
  init: readonly ContainerState[];
  containers: readonly ContainerState[];
  reason?: string;
  message?: string;
}>;

export function waitingContainer(name: string, image: string): ContainerState {
  return {
    ...{ name, image, state: 'waiting', reason: 'PodInitializing', message: '' },
    ...{ exitCode: 0, startedAt: '', ready: false, restarts: 0 },
  };
}

/** All containers are ready, and the pod is not on its way out. */
export function isPodReady(pod: KubernetesObject): boolean {
  if (pod.metadata.deletionTimestamp !== undefined) return false;
  return conditionOf(pod, 'Ready') === 'True';
}

export function podPhase(pod: KubernetesObject): PodPhase {
  const phase = statusOf(pod)['phase'];
  return phase === 'Running' || phase === 'Succeeded' || phase === 'Failed' ? phase : 'Pending';
}

export function podIps(pod: KubernetesObject): IpAddress[] {
  const ips = statusOf(pod)['podIPs'];
  if (!Array.isArray(ips)) return [];
  return ips.flatMap((entry: unknown) => {
    const ip = isRecord(entry) && typeof entry['ip'] === 'string' ? entry['ip'] : '';
    return tryParseIpAddress(ip) ?? [];
  });
}

/** The `status` that Kubernetes would write for this state. */
export function formatPodStatus(state: PodState): Readonly<Record<string, unknown>> {
  const running = state.phase === 'Running';
  const ready = running && state.containers.every((container) => container.ready);
  const condition = (type: string, met: boolean, message = ''): Record<string, string> => ({
    type,
    status: met ? 'True' : 'False',
    ...(message !== '' && { message }),
  });
  const unready = state.containers.find((container) => !container.ready)?.message ?? '';
  return {
    phase: state.phase,
    conditions: [
      condition('PodScheduled', true),
      condition('Initialized', state.initialized),
      condition('ContainersReady', ready),
      condition('Ready', ready, unready),
    ],
    ...(state.reason !== undefined && { reason: state.reason }),
    ...(state.message !== undefined && { message: state.message }),
    ...(state.hostIps[0] !== undefined && {
      hostIP: state.hostIps[0],
      hostIPs: state.hostIps.map((ip) => ({ ip })),
    }),
    ...(state.ips[0] !== undefined && {
      podIP: state.ips[0],
      podIPs: state.ips.map((ip) => ({ ip })),
    }),
    startTime: state.startedAt,
    qosClass: 'BestEffort',
    ...(state.init.length > 0 && { initContainerStatuses: state.init.map(formatContainer) }),
    containerStatuses: state.containers.map(formatContainer),
  };
}

function formatContainer(container: ContainerState): Readonly<Record<string, unknown>> {
  const { name, image, ready, restarts, reason, message, startedAt, exitCode } = container;
  const state = {
    waiting: { reason, ...(message !== '' && { message }) },
    running: { startedAt },
    terminated: { exitCode, reason, ...(message !== '' && { message }), finishedAt: timestamp() },
  }[container.state];
  return {
    ...{ name, image, ready, restartCount: restarts, started: container.state === 'running' },
    state: { [container.state]: state },
  };
}

export function statusOf(object: KubernetesObject): Readonly<Record<string, unknown>> {
  const { status } = object;
  return typeof status === 'object' && status !== null
    ? (status as Readonly<Record<string, unknown>>)
    : {};
}

function conditionOf(object: KubernetesObject, type: string): unknown {
  const { conditions } = statusOf(object);
  if (!Array.isArray(conditions)) return undefined;
  const found = (conditions as readonly Readonly<Record<string, unknown>>[]).find(
    (condition) => condition['type'] === type,
  );
  return found?.['status'];
}
