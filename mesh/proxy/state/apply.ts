import { describeError, MeshError } from '../../../base/errors.ts';
import { unreachable } from '../../../base/unreachable.ts';
import { policyKey, type AuthorizationPolicy, type PolicyKey } from '../../model/authorization.ts';
import type { Service, ServiceKey } from '../../model/service.ts';
import { workloadIdentity, type Workload, type WorkloadUid } from '../../model/workload.ts';
import type { ProxyState } from './store.ts';
import { keyOfService } from './vips.ts';

/** One decoded xDS resource. */
export type MeshResource = Readonly<
  | { kind: 'workload'; workload: Workload }
  | { kind: 'service'; service: Service }
  | { kind: 'policy'; policy: AuthorizationPolicy }
>;

/** A resource as it came; `decode` throws for one that must be refused. */
export type PendingResource = Readonly<{ name: string; decode: () => MeshResource }>;

export type StateDelta = Readonly<{
  /** Which index the removed names belong to: workloads and services share one type. */
  type: 'address' | 'policy';
  resources: readonly PendingResource[];
  removed: readonly string[];
}>;

/** The keys that a delta touched: what concerns them must be looked up, decided and cached anew. */
export type StateChange = Readonly<{
  workloads: ReadonlySet<WorkloadUid>;
  services: ReadonlySet<ServiceKey>;
  policies: ReadonlySet<PolicyKey>;
}>;

export type Rejection = Readonly<{ name: string; reason: string }>;

export type ApplyResult = Readonly<{ changed: StateChange; rejected: readonly Rejection[] }>;

/** A thread's connections wait no longer than this for a push; the turn budget of a reactor is of this order. */
const SLICE_MS = 1;

/**
 * Applies the updates of a delta, then its removals. A bad resource is refused alone and keeps its last good version.
 *
 * @param pause awaited after each millisecond of work, so that a large push does not hold up the thread's connections;
 *   one macrotask, such as `setImmediate` of node:timers/promises.
 */
export async function applyDelta(
  state: ProxyState,
  delta: StateDelta,
  pause: () => Promise<void>,
): Promise<ApplyResult> {
  const changed = {
    workloads: new Set<WorkloadUid>(),
    services: new Set<ServiceKey>(),
    policies: new Set<PolicyKey>(),
  };
  const rejected: Rejection[] = [];
  let sliceEndsMs = performance.now() + SLICE_MS;
  const pauseWhenDue = async (): Promise<void> => {
    await pause();
    sliceEndsMs = performance.now() + SLICE_MS;
  };
  for (const { name, decode } of delta.resources) {
    try {
      const resource = decode();
      checkName(name, nameOf(resource));
      set(state, resource, changed);
    } catch (error) {
      rejected.push({ name, reason: describeError(error) });
    }
    if (performance.now() > sliceEndsMs) await pauseWhenDue();
  }
  for (const name of delta.removed) {
    remove(state, delta.type, name, changed);
    if (performance.now() > sliceEndsMs) await pauseWhenDue();
  }
  return { changed, rejected };
}

type Changed = {
  workloads: Set<WorkloadUid>;
  services: Set<ServiceKey>;
  policies: Set<PolicyKey>;
};

function set(state: ProxyState, resource: MeshResource, changed: Changed): void {
  switch (resource.kind) {
    case 'workload': {
      const { workload } = resource;
      workloadIdentity(workload); // throws for names that make none: whoever asks for it later may rely on it
      touchServices(state.workload(workload.uid), changed);
      touchServices(workload, changed);
      state.setWorkload(workload);
      changed.workloads.add(workload.uid);
      return;
    }
    case 'service':
      state.setService(resource.service);
      changed.services.add(keyOfService(resource.service));
      return;
    case 'policy': {
      const { policy } = resource;
      state.setPolicy(policy);
      changed.policies.add(policyKey(policy.namespace, policy.name));
      return;
    }
    default:
      unreachable(resource);
  }
}

function remove(state: ProxyState, type: StateDelta['type'], name: string, changed: Changed): void {
  if (type === 'policy') {
    if (state.deletePolicy(name as PolicyKey)) changed.policies.add(name as PolicyKey);
    return;
  }
  const uid = name as WorkloadUid;
  const before = state.workload(uid);
  if (before !== undefined) {
    touchServices(before, changed);
    state.deleteWorkload(uid);
    changed.workloads.add(uid);
  } else if (state.deleteService(name as ServiceKey)) changed.services.add(name as ServiceKey);
}

/** A change of a workload is one of the services it is an endpoint of. */
function touchServices(workload: Workload | undefined, changed: Changed): void {
  for (const key of workload?.services.keys() ?? []) changed.services.add(key);
}

function nameOf(resource: MeshResource): string {
  switch (resource.kind) {
    case 'workload':
      return resource.workload.uid;
    case 'service':
      return keyOfService(resource.service);
    case 'policy':
      return policyKey(resource.policy.namespace, resource.policy.name);
  }
}

/** Removals come by name, so a resource under another name could never be removed. */
function checkName(name: string, own: string): void {
  if (name === own) return;
  const message = `Cannot apply resource ${JSON.stringify(name)}: found ${JSON.stringify(own)} in it`;
  throw new MeshError('ERR_XDS_RESOURCE', 'upstream', message);
}
