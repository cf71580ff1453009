import type { Gateway } from '../../mesh/kubernetes/gateway.ts';
import {
  DATAPLANE_MODE,
  DATAPLANE_MODE_NONE,
  GATEWAY_CLASS_NAME,
  GATEWAY_MANAGED,
  GATEWAY_NAME,
} from '../../mesh/kubernetes/labels.ts';
import type { GeneratedObject, MeshSettings } from './settings.ts';

/** What the pods of a Gateway are asked about: readiness and, by Prometheus, metrics. */
const READINESS_PORT = 15021;
const STATS_PORT = 15020;
/** Seconds, as Kubernetes writes them: of a token, a day's half as Istio asks for; of a pod's end, its default. */
const TOKEN_SECONDS = 43_200;
const TERMINATION_GRACE_SECONDS = 30;

/** The program of waypoints and gateways. */
const PROXY_IMAGE = 'halo/waypoint';

/** Of every Service of a Gateway's pods: whoever balances to them asks whether they are ready. */
export const STATUS_SERVICE_PORT = {
  name: 'status-port',
  port: READINESS_PORT,
  protocol: 'TCP',
  appProtocol: 'tcp',
};

/** Of each object that runs a Gateway's proxy. */
export type ProxyMetadata = Readonly<{
  name: string;
  namespace: string;
  labels: Readonly<Record<string, string>>;
  annotations: Readonly<Record<string, string>>;
  ownerReferences: readonly object[];
}>;

type ProxyContainer = Readonly<{
  name: string;
  role: 'waypoint' | 'gateway';
  ports: readonly Readonly<{ name: string; containerPort: number; protocol: string }>[];
}>;

/** The labels of all that runs a Gateway: `instances` tells its pods, `managed` who makes them. */
export function proxyLabels(
  { spec }: Gateway,
  { instances, managed }: Readonly<{ instances: string; managed: string }>,
): Readonly<Record<string, string>> {
  return {
    ...Object.fromEntries(spec.infrastructure.labels),
    [GATEWAY_NAME]: instances,
    [GATEWAY_CLASS_NAME]: spec.gatewayClassName,
    [GATEWAY_MANAGED]: managed,
  };
}

/** What is made for a Gateway belongs to it, and goes when it goes. */
export function proxyMetadata(
  { ref, metadata, spec }: Gateway,
  { name, labels }: Pick<ProxyMetadata, 'name' | 'labels'>,
): ProxyMetadata {
  const owner = {
    ...{ apiVersion: 'gateway.networking.k8s.io/v1', kind: 'Gateway', name: ref.name },
    ...{ uid: metadata.uid, controller: true },
  };
  const annotations = Object.fromEntries(spec.infrastructure.annotations);
  return { name, namespace: ref.namespace, labels, annotations, ownerReferences: [owner] };
}

/** Selects the pods of a Gateway by the labels that proxyLabels() gave them. */
export function proxySelector({ labels }: ProxyMetadata): object {
  return { [GATEWAY_NAME]: labels[GATEWAY_NAME] };
}

/**
 * The ServiceAccount and the Deployment of a Gateway's proxy. The Deployment says nothing of replicas, so that whoever
 * scales it has the last word.
 */
export function proxyWorkload(
  metadata: ProxyMetadata,
  settings: MeshSettings,
  proxy: Readonly<{ container: ProxyContainer; podSecurity?: object }>,
): GeneratedObject[] {
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    {
      ...{ apiVersion: 'apps/v1', kind: 'Deployment', metadata },
      spec: {
        selector: { matchLabels: proxySelector(metadata) },
        template: {
          metadata: {
            // It speaks HBONE itself: what redirects the traffic of others must leave it alone.
            labels: { ...metadata.labels, [DATAPLANE_MODE]: DATAPLANE_MODE_NONE },
            annotations: {
              ...metadata.annotations,
              'prometheus.io/scrape': 'true',
              'prometheus.io/port': String(STATS_PORT),
              'prometheus.io/path': '/stats/prometheus',
            },
          },
          spec: {
            ...(proxy.podSecurity && { securityContext: proxy.podSecurity }),
            ...podSpec(metadata.name, settings, proxy.container),
          },
        },
      },
    },
  ];
}

function podSpec(
  serviceAccountName: string,
  settings: MeshSettings,
  container: ProxyContainer,
): Record<string, unknown> {
  const { clusterId, clusterDomain, trustDomain, trustDomainAliases, network } = settings;
  return {
    serviceAccountName,
    terminationGracePeriodSeconds: TERMINATION_GRACE_SECONDS,
    containers: [
      {
        ...{ name: container.name, image: PROXY_IMAGE },
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
