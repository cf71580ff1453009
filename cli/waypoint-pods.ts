import { MeshError } from '../base/errors.ts';
import { podAdminSocket, type KubernetesObject } from '../deploy/sandbox/api.ts';
import {
  GATEWAY_NAME,
  USE_WAYPOINT,
  USE_WAYPOINT_NAMESPACE,
  USE_WAYPOINT_NONE,
} from '../mesh/kubernetes/labels.ts';
import { conditionOf, namespaceOf } from './object-fields.ts';
import type { Sandbox } from './sandbox.ts';

/** A running waypoint, and where its admin pages are. */
export type WaypointPod = Readonly<{ name: string; adminSocket: string }>;

/** Which waypoint a Service, or else its namespace, says that it uses; `undefined` for none. */
export async function waypointOf(
  sandbox: Sandbox,
  service: KubernetesObject,
): Promise<Readonly<{ name: string; namespace: string }> | undefined> {
  const namespace = namespaceOf(service);
  const [owner] = await sandbox.objects({ kind: 'Namespace', name: namespace });
  const labels = [service.metadata.labels, owner?.metadata.labels].find(
    (each) => each?.[USE_WAYPOINT] !== undefined,
  );
  const name = labels?.[USE_WAYPOINT];
  if (name === undefined || name === USE_WAYPOINT_NONE) return undefined;
  return { name, namespace: labels?.[USE_WAYPOINT_NAMESPACE] ?? namespace };
}

/**
 * The pods of the waypoint that a Service uses.
 *
 * @throws {MeshError} ERR_WAYPOINT when it uses none, or none runs.
 */
export async function waypointPodsOf(
  sandbox: Sandbox,
  service: KubernetesObject,
): Promise<readonly WaypointPod[]> {
  const waypoint = await waypointOf(sandbox, service);
  const what = `${namespaceOf(service)}/${service.metadata.name}`;
  if (waypoint === undefined)
    throw new MeshError(
      'ERR_WAYPOINT',
      'local',
      `Cannot see requests of Service ${what}: it uses no waypoint; halo waypoint apply runs one`,
    );
  const pods = await podsOfWaypoint(sandbox, waypoint.namespace, waypoint.name);
  if (pods.length > 0) return pods;
  const message = `Cannot ask waypoint ${waypoint.namespace}/${waypoint.name} of Service ${what}: no pod of it is ready`;
  throw new MeshError('ERR_WAYPOINT', 'local', message);
}

/** Those that are ready. */
export async function podsOfWaypoint(
  sandbox: Sandbox,
  namespace: string,
  name: string,
): Promise<readonly WaypointPod[]> {
  const pods = await sandbox.objects({
    kind: 'Pod',
    namespace,
    selector: `${GATEWAY_NAME}=${name}`,
  });
  return pods
    .filter((pod) => conditionOf(pod, 'Ready') === 'True')
    .map(({ metadata }) => ({
      name: `${namespace}/${metadata.name}`,
      adminSocket: podAdminSocket(sandbox.paths, metadata.uid ?? ''),
    }));
}
