import { HTTP2_PORT, HTTP_PORT } from '../load/protocol.ts';
import { MESH_NAMESPACE, podOf } from '../l4/places.ts';
import type { Work } from './works.ts';

export const WAYPOINT = 'waypoint';
const GATEWAY_API = 'gateway.networking.k8s.io/v1';
/** The Service whose requests go through the waypoint. */
export const WEB = 'web';
/** Its ports; of the first the waypoint speaks HTTP/1.1 with the endpoint, whichever version the client speaks. */
const [HTTP1_WEB, HTTP2_WEB, GRPC_WEB] = [80, 81, 82] as const;
export const WAYPOINT_IDENTITY = `spiffe://cluster.local/ns/${MESH_NAMESPACE}/sa/${WAYPOINT}`;

export function webPort({ to, call }: Work): number {
  if (call === 'grpc') return GRPC_WEB;
  return to === 'http2' ? HTTP2_WEB : HTTP1_WEB;
}

/** What stands in the mesh besides that of layer 4: a waypoint, a Service that uses it, and a route of each port. */
export function waypointYaml(): string {
  const [namespace, server] = podOf('mesh-server') ?? [];
  return [
    {
      ...{ apiVersion: GATEWAY_API, kind: 'Gateway', metadata: { name: WAYPOINT, namespace } },
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
        ports: [
          { name: 'http', port: HTTP1_WEB, targetPort: HTTP_PORT },
          { name: 'http2', port: HTTP2_WEB, targetPort: HTTP2_PORT },
          { name: 'grpc', port: GRPC_WEB, targetPort: HTTP2_PORT },
        ],
      },
    },
    ...[HTTP1_WEB, HTTP2_WEB].map((port) =>
      route('HTTPRoute', port, { path: { type: 'PathPrefix', value: '/' } }),
    ),
    route('GRPCRoute', GRPC_WEB, { method: { service: 'bench.Web' } }),
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

function route(kind: 'HTTPRoute' | 'GRPCRoute', port: number, match: object): object {
  return {
    ...{ apiVersion: GATEWAY_API, kind },
    metadata: { name: `${WEB}-${port}`, namespace: MESH_NAMESPACE },
    spec: {
      parentRefs: [{ group: '', kind: 'Service', name: WEB, port }],
      rules: [{ matches: [match], backendRefs: [{ name: WEB, port }] }],
    },
  };
}
