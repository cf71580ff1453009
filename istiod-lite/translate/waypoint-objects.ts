import { HBONE_PORT } from '../../mesh/model/ports.ts';
import type { Gateway } from '../../mesh/kubernetes/gateway.ts';
import {
  GATEWAY_MANAGED,
  GATEWAY_MANAGED_MESH,
  TRAFFIC_DISTRIBUTION,
  WAYPOINT_CLASS,
  WAYPOINT_CONTROLLER,
} from '../../mesh/kubernetes/labels.ts';
import {
  proxyLabels,
  proxyMetadata,
  proxySelector,
  proxyWorkload,
  STATUS_SERVICE_PORT,
} from './proxy-objects.ts';
import type { GeneratedObject, MeshSettings } from './settings.ts';

const MESH_PORT = { name: 'mesh', containerPort: HBONE_PORT, protocol: 'TCP' };

/** The class of waypoint Gateways: made where it is missing. */
export const WAYPOINT_GATEWAY_CLASS: GeneratedObject = {
  apiVersion: 'gateway.networking.k8s.io/v1',
  kind: 'GatewayClass',
  metadata: { name: WAYPOINT_CLASS, labels: { [GATEWAY_MANAGED]: GATEWAY_MANAGED_MESH } },
  spec: {
    controllerName: WAYPOINT_CONTROLLER,
    description: 'Waypoints: L7 proxies of a namespace, of services or of service accounts',
  },
};

/** The objects that run a waypoint, all named like its Gateway: ServiceAccount, Deployment, Service. */
export function waypointObjects(gateway: Gateway, settings: MeshSettings): GeneratedObject[] {
  const { name } = gateway.ref;
  const labels = proxyLabels(gateway, { instances: name, managed: GATEWAY_MANAGED_MESH });
  const metadata = proxyMetadata(gateway, { name, labels });
  return [
    ...proxyWorkload(metadata, settings, {
      container: { name: 'waypoint', role: 'waypoint', ports: [MESH_PORT] },
    }),
    {
      ...{ apiVersion: 'v1', kind: 'Service' },
      // A client's proxy goes to an instance near it.
      metadata: {
        ...metadata,
        annotations: { ...metadata.annotations, [TRAFFIC_DISTRIBUTION]: 'PreferClose' },
      },
      spec: {
        selector: proxySelector(metadata),
        ipFamilyPolicy: 'PreferDualStack',
        ports: [
          STATUS_SERVICE_PORT,
          { name: 'mesh', port: HBONE_PORT, protocol: 'TCP', appProtocol: 'hbone' },
        ],
      },
    },
  ];
}
