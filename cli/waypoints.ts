import { stringify } from 'yaml';
import type { KubernetesObject } from '../deploy/sandbox/api.ts';
import { REVISION, WAYPOINT_CLASS, WAYPOINT_FOR } from '../mesh/kubernetes/labels.ts';
import { conditionOf, listAt, namespaceOf, textAt } from './object-fields.ts';
import type { Sandbox } from './sandbox.ts';

/** What a waypoint can be for, as the label `istio.io/waypoint-for` says it. */
export const TRAFFIC_TYPES = ['service', 'workload', 'all', 'none'] as const;
/** What it is for where the label does not say. */
const DEFAULT_TRAFFIC = 'service';

export const DEFAULT_WAYPOINT = 'waypoint';
/** Value of `use-waypoint` for no waypoint, so no waypoint can have that name. */
export const RESERVED_NAME = 'none';

export type WaypointWish = Readonly<{
  name: string;
  namespace: string;
  traffic: string | undefined;
  revision: string | undefined;
}>;

/** The manifest of a waypoint. */
export function waypointManifest({ name, namespace, traffic, revision }: WaypointWish): string {
  const labels = {
    ...(traffic !== undefined && { [WAYPOINT_FOR]: traffic }),
    ...(revision !== undefined && { [REVISION]: revision }),
  };
  return stringify({
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'Gateway',
    metadata: { ...(Object.keys(labels).length > 0 && { labels }), name, namespace },
    spec: {
      gatewayClassName: WAYPOINT_CLASS,
      listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
    },
  });
}

/** The waypoints of a namespace, or of all, in the order of their names. */
export async function listWaypoints(
  sandbox: Sandbox,
  namespace: string | undefined,
): Promise<readonly KubernetesObject[]> {
  const query = { kind: 'Gateway', ...(namespace !== undefined && { namespace }) };
  return (await sandbox.objects(query)).filter(isWaypoint);
}

export function isWaypoint(gateway: KubernetesObject): boolean {
  return textAt(gateway, 'spec', 'gatewayClassName') === WAYPOINT_CLASS;
}

/** What it is for. */
export function trafficOf(gateway: KubernetesObject): string {
  return gateway.metadata.labels?.[WAYPOINT_FOR] ?? DEFAULT_TRAFFIC;
}

export function revisionOf(gateway: KubernetesObject): string {
  return gateway.metadata.labels?.[REVISION] ?? 'default';
}

/** How far a waypoint is; `reason` and `message` are those of the condition that decides. */
export type WaypointState = Readonly<{ programmed: boolean; reason: string; message: string }>;

export function stateOf(gateway: KubernetesObject): WaypointState {
  const conditions = listAt(gateway, 'status', 'conditions');
  const found = conditions.find((condition) => textAt(condition, 'type') === 'Programmed');
  return {
    programmed: conditionOf(gateway, 'Programmed') === 'True',
    reason: textAt(found, 'reason'),
    message: textAt(found, 'message'),
  };
}

/**
 * Waits until these waypoints are programmed.
 *
 * @returns how they are in the end: `false` when the time was over before.
 */
export async function waitForWaypoints(
  sandbox: Sandbox,
  waypoints: readonly Readonly<{ name: string; namespace: string }>[],
  timeoutMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  const missing = new Set(waypoints.map(keyOf));
  if (missing.size === 0) return true;
  const ended = AbortSignal.any([AbortSignal.timeout(timeoutMs), signal]);
  try {
    for await (const event of sandbox.watch('Gateway', ended)) {
      if (event.type === 'BOOKMARK' || event.type === 'DELETED') continue;
      const { object } = event;
      const key = keyOf({ name: object.metadata.name, namespace: namespaceOf(object) });
      if (stateOf(object).programmed) missing.delete(key);
      if (missing.size === 0) return true;
    }
  } catch (error) {
    if (!ended.aborted) throw error;
  }
  signal.throwIfAborted();
  return false;
}

function keyOf({ name, namespace }: Readonly<{ name: string; namespace: string }>): string {
  return `${namespace}/${name}`;
}
