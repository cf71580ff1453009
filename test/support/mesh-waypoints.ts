import { conditionOf, numberAt } from '../../cli/object-fields.ts';
import type { KubernetesObject } from '../../deploy/sandbox/api.ts';
import type { Mesh } from './mesh.ts';
import { objectsYaml } from './mesh-yaml.ts';

export type WaypointOptions = Readonly<{
  namespace?: string;
  labels?: Readonly<Record<string, string>>;
  annotations?: Readonly<Record<string, string>>;
  /** `allowedRoutes.namespaces` of its listener. */
  namespaces?: object;
  /** The rest of its spec. */
  spec?: Readonly<Record<string, unknown>>;
}>;

/** A Gateway of class istio-waypoint as YAML. */
export function waypointYaml(name: string, options: WaypointOptions = {}): string {
  const { namespace = 'shop', labels = {}, annotations = {}, namespaces, spec = {} } = options;
  const gateway = {
    apiVersion: 'gateway.networking.k8s.io/v1',
    kind: 'Gateway',
    metadata: { name, namespace, labels, annotations },
    spec: {
      gatewayClassName: 'istio-waypoint',
      listeners: [
        {
          ...{ name: 'mesh', port: 15008, protocol: 'HBONE' },
          ...(namespaces !== undefined && { allowedRoutes: { namespaces } }),
        },
      ],
      ...spec,
    },
  };
  return objectsYaml(gateway);
}

/** Waits until a waypoint runs, with so many replicas, and every proxy knows of it; answers with its Gateway. */
export async function waypointReady(
  mesh: Mesh,
  name: string,
  { namespace = 'shop', replicas = 1 }: Readonly<{ namespace?: string; replicas?: number }> = {},
): Promise<KubernetesObject> {
  const isNamed = ({ metadata }: KubernetesObject): boolean =>
    metadata.name === name && metadata.namespace === namespace;
  await mesh.watch(
    'Deployment',
    (object) =>
      isNamed(object) &&
      ['readyReplicas', 'updatedReplicas', 'replicas'].every(
        (count) => numberAt(object, 'status', count) === replicas,
      ),
    `${replicas} replicas of waypoint ${namespace}/${name} are ready`,
  );
  const gateway = await mesh.watch(
    'Gateway',
    (object) => isNamed(object) && conditionOf(object, 'Programmed') === 'True',
    `Gateway ${namespace}/${name} is programmed`,
  );
  await mesh.settled();
  return gateway;
}

/** The pods of a waypoint, as `<namespace>/<pod>`. */
export async function waypointPods(
  mesh: Mesh,
  name: string,
  namespace = 'shop',
): Promise<readonly string[]> {
  const { pods } = await mesh.sandbox.status();
  return pods
    .filter((pod) => pod.namespace === namespace && pod.serviceAccount === name)
    .map((pod) => `${namespace}/${pod.name}`);
}
