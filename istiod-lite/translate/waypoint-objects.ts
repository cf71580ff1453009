import { HBONE_PORT } from '../../mesh/model/ports.ts';
import type { Gateway } from '../../mesh/kubernetes/gateway.ts';
import {
  DATAPLANE_MODE,
  DATAPLANE_MODE_NONE,
  GATEWAY_CLASS_NAME,
  GATEWAY_MANAGED,
  GATEWAY_MANAGED_MESH,
  GATEWAY_NAME,
  TRAFFIC_DISTRIBUTION,
  WAYPOINT_CLASS,
  WAYPOINT_CONTROLLER,
} from '../../mesh/kubernetes/labels.ts';
import type { GeneratedObject, MeshSettings } from './settings.ts';

/** What a waypoint's pods are asked about: readiness and, by Prometheus, metrics. */
export const READINESS_PORT = 15021;
export const STATS_PORT = 15020;
/** Seconds, as Kubernetes writes them: of a token, a day's half as Istio asks for; of a pod's end, its default. */
const TOKEN_SECONDS = 43_200;
const TERMINATION_GRACE_SECONDS = 30;

const MESH_PORT = { name: 'mesh', containerPort: HBONE_PORT, protocol: 'TCP' };

/** The program of a waypoint. */
export const WAYPOINT_IMAGE = 'halo/waypoint';

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

/**
 * The objects that run a waypoint, all named like its Gateway: ServiceAccount, Deployment, Service. The Deployment says
 * nothing of replicas, so that whoever scales it has the last word.
 */
export function waypointObjects(gateway: Gateway, settings: MeshSettings): GeneratedObject[] {
  const { namespace, name } = gateway.ref;
  const { infrastructure, gatewayClassName } = gateway.spec;
  const labels = {
    ...Object.fromEntries(infrastructure.labels),
    [GATEWAY_NAME]: name,
    [GATEWAY_CLASS_NAME]: gatewayClassName,
    [GATEWAY_MANAGED]: GATEWAY_MANAGED_MESH,
  };
  const annotations = Object.fromEntries(infrastructure.annotations);
  const owner = {
    ...{ apiVersion: 'gateway.networking.k8s.io/v1', kind: 'Gateway', name },
    ...{ uid: gateway.metadata.uid, controller: true },
  };
  const metadata = { name, namespace, labels, annotations, ownerReferences: [owner] };
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    {
      ...{ apiVersion: 'apps/v1', kind: 'Deployment', metadata },
      spec: {
        selector: { matchLabels: { [GATEWAY_NAME]: name } },
        template: {
          metadata: {
            // It speaks HBONE itself: what redirects the traffic of others must leave it alone.
            labels: { ...labels, [DATAPLANE_MODE]: DATAPLANE_MODE_NONE },
            annotations: {
              ...annotations,
              'prometheus.io/scrape': 'true',
              'prometheus.io/port': String(STATS_PORT),
              'prometheus.io/path': '/stats/prometheus',
            },
          },
          spec: proxyPodSpec(name, settings, {
            name: 'waypoint',
            role: 'waypoint',
            ports: [MESH_PORT],
          }),
        },
      },
    },
    {
      ...{ apiVersion: 'v1', kind: 'Service' },
      // A client's proxy goes to an instance near it.
      metadata: {
        ...metadata,
        annotations: { ...annotations, [TRAFFIC_DISTRIBUTION]: 'PreferClose' },
      },
      spec: {
        selector: { [GATEWAY_NAME]: name },
        ipFamilyPolicy: 'PreferDualStack',
        ports: [
          { name: 'status-port', port: READINESS_PORT, protocol: 'TCP', appProtocol: 'tcp' },
          { name: 'mesh', port: HBONE_PORT, protocol: 'TCP', appProtocol: 'hbone' },
        ],
      },
    },
  ];
}

/** What runs the program of waypoints and gateways. */
export function proxyPodSpec(
  serviceAccountName: string,
  settings: MeshSettings,
  container: Readonly<{
    name: string;
    role: 'waypoint' | 'gateway';
    ports: readonly Readonly<{ name: string; containerPort: number; protocol: string }>[];
  }>,
): Record<string, unknown> {
  const { clusterId, clusterDomain, trustDomain, trustDomainAliases, network } = settings;
  return {
    serviceAccountName,
    terminationGracePeriodSeconds: TERMINATION_GRACE_SECONDS,
    containers: [
      {
        ...{ name: container.name, image: WAYPOINT_IMAGE },
        env: [
          ...(container.role === 'waypoint' ? [] : [{ name: 'PROXY_ROLE', value: container.role }]),
          fromField('POD_NAME', 'metadata.name'),
          fromField('POD_NAMESPACE', 'metadata.namespace'),
          fromField('SERVICE_ACCOUNT', 'spec.serviceAccountName'),
          fromField('INSTANCE_IP', 'status.podIP'),
          fromField('NODE_NAME', 'spec.nodeName'),
          { name: 'CLUSTER_ID', value: clusterId },
          { name: 'CLUSTER_DOMAIN', value: clusterDomain },
          { name: 'NETWORK', value: network },
          { name: 'TRUST_DOMAIN', value: trustDomain },
          { name: 'TRUST_DOMAIN_ALIASES', value: trustDomainAliases.join(',') },
          { name: 'AUTH_TOKEN', value: '/var/run/secrets/tokens/istio-token' },
          { name: 'XDS_ROOT_CA', value: '/var/run/secrets/istio/root-cert.pem' },
          { name: 'CA_ROOT_CA', value: '/var/run/secrets/istio/root-cert.pem' },
        ],
        ports: [
          ...container.ports,
          { name: 'metrics', containerPort: STATS_PORT, protocol: 'TCP' },
          { name: 'status-port', containerPort: READINESS_PORT, protocol: 'TCP' },
        ],
        startupProbe: { ...readiness(), failureThreshold: 30, periodSeconds: 1 },
        readinessProbe: { ...readiness(), failureThreshold: 4, periodSeconds: 15 },
        resources: {
          requests: { cpu: '100m', memory: '128Mi' },
          limits: { cpu: '2', memory: '1Gi' },
        },
        securityContext: {
          ...{ allowPrivilegeEscalation: false, privileged: false, readOnlyRootFilesystem: true },
          ...{ runAsNonRoot: true, runAsUser: 1337, runAsGroup: 1337 },
          capabilities: { drop: ['ALL'] },
        },
        volumeMounts: [
          { name: 'istio-token', mountPath: '/var/run/secrets/tokens' },
          { name: 'istiod-ca-cert', mountPath: '/var/run/secrets/istio' },
        ],
      },
    ],
    volumes: [
      {
        name: 'istio-token',
        projected: {
          sources: [
            {
              serviceAccountToken: {
                ...{ audience: 'istio-ca', expirationSeconds: TOKEN_SECONDS, path: 'istio-token' },
              },
            },
          ],
        },
      },
      { name: 'istiod-ca-cert', configMap: { name: 'istio-ca-root-cert' } },
    ],
  };
}

function readiness(): Record<string, unknown> {
  return { httpGet: { path: '/healthz/ready', port: READINESS_PORT, scheme: 'HTTP' } };
}

function fromField(name: string, fieldPath: string): Record<string, unknown> {
  return { name, valueFrom: { fieldRef: { fieldPath } } };
}
