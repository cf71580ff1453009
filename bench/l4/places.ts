/** Where something of a benchmark runs: pods in the mesh and beside it, and the world outside. */
export type Place = 'mesh-client' | 'mesh-server' | 'plain-client' | 'plain-server' | 'outside';

/** Of the two namespaces; clients are on node-1, servers on node-2. */
export const MESH_NAMESPACE = 'bench';
export const PLAIN_NAMESPACE = 'plain';
/** Of pods that are taken into the mesh while others look. */
export const LATE_NAMESPACE = 'late';
/** The Service in front of the server in the mesh. */
export const SERVICE = 'server';

export const CLIENT_IDENTITY = `spiffe://cluster.local/ns/${MESH_NAMESPACE}/sa/client`;
export const SERVER_IDENTITY = `spiffe://cluster.local/ns/${MESH_NAMESPACE}/sa/server`;

/** Namespace and pod of a place; none for the outside, which is no pod. */
export function podOf(place: Place): readonly [namespace: string, name: string] | undefined {
  switch (place) {
    case 'mesh-client':
      return [MESH_NAMESPACE, 'client'];
    case 'mesh-server':
      return [MESH_NAMESPACE, 'server'];
    case 'plain-client':
      return [PLAIN_NAMESPACE, 'client'];
    case 'plain-server':
      return [PLAIN_NAMESPACE, 'server'];
    case 'outside':
      return undefined;
  }
}
