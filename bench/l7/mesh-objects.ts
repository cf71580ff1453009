import { HTTP_PORT } from '../load/protocol.ts';
import { MESH_NAMESPACE, podOf } from '../l4/places.ts';

export const WAYPOINT = 'waypoint';
/** The Service whose requests go through the waypoint. */
export const WEB = 'web';
export const WEB_PORT = 80;
export const WAYPOINT_IDENTITY = `spiffe://cluster.local/ns/${MESH_NAMESPACE}/sa/${WAYPOINT}`;

/** What stands in the mesh besides that of layer 4: a waypoint, a Service that uses it, and a route of it. */
export function waypointYaml(): string {
  const [namespace, server] = podOf('mesh-server') ?? [];
  const gateway = 'gateway.networking.k8s.io/v1';
  return [
    {
      ...{ apiVersion: gateway, kind: 'Gateway', metadata: { name: WAYPOINT, namespace } },
      spec: {
        gatewayClassName: 'istio-waypoint',
        listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
      },
    },
    {
      ...{ apiVersion: 'v1', kind: 'Service' },
      metadata: { name: WEB, namespace, labels: { 'istio.io/use-waypoint': WAYPOINT } },
      spec: {
        selector: { app: server },
        ports: [{ name: 'http', port: WEB_PORT, targetPort: HTTP_PORT }],
      },
    },
    {
      ...{ apiVersion: gateway, kind: 'HTTPRoute', metadata: { name: WEB, namespace } },
      spec: {
        parentRefs: [{ group: '', kind: 'Service', name: WEB, port: WEB_PORT }],
        rules: [
          {
            matches: [{ path: { type: 'PathPrefix', value: '/' } }],
            backendRefs: [{ name: WEB, port: WEB_PORT }],
          },
        ],
      },
    },
    {
      ...{ apiVersion: 'security.istio.io/v1', kind: 'AuthorizationPolicy' },
      metadata: { name: 'allow-waypoint', namespace },
      spec: {
        action: 'ALLOW',
        rules: [{ from: [{ source: { principals: [WAYPOINT_IDENTITY.slice(9)] } }] }],
      },
    },
  ]
    .map((object) => `---\n${JSON.stringify(object)}\n`)
    .join('');
}
