import type { Gateway } from '../../../mesh/kubernetes/gateway.ts';
import {
  DATAPLANE_MODE,
  DATAPLANE_MODE_NONE,
  GATEWAY_CLASS_NAME,
  GATEWAY_MANAGED,
  GATEWAY_MANAGED_INGRESS,
  GATEWAY_NAME,
  INGRESS_CLASS,
  INGRESS_CONTROLLER,
  SERVICE_TYPE,
} from '../../../mesh/kubernetes/labels.ts';
import type { GeneratedObject, MeshSettings } from '../settings.ts';
import { proxyPodSpec, READINESS_PORT, STATS_PORT } from '../waypoint-objects.ts';
import { askedAddresses } from './ingress-addresses.ts';
import { fixedName, ingressLabel, ingressName } from './ingress-class.ts';
import { isServed, type EvaluatedListener } from './listeners.ts';

/** The class of Gateways at the edge of the mesh: made where it is missing. */
export const INGRESS_GATEWAY_CLASS: GeneratedObject = {
  apiVersion: 'gateway.networking.k8s.io/v1',
  kind: 'GatewayClass',
  metadata: { name: INGRESS_CLASS, labels: { [GATEWAY_MANAGED]: GATEWAY_MANAGED_INGRESS } },
  spec: {
    controllerName: INGRESS_CONTROLLER,
    description: 'Gateways: what comes into the mesh from outside of it',
  },
};

const SERVICE_TYPES: ReadonlySet<string> = new Set(['LoadBalancer', 'ClusterIP', 'NodePort']);

/**
 * The objects that run a gateway: ServiceAccount, Deployment, and Services with the ports of its listeners. The Deployment
 * says nothing of replicas, so that whoever scales it has the last word.
 */
export function ingressObjects(
  gateway: Gateway,
  listeners: readonly EvaluatedListener[],
  settings: MeshSettings,
): GeneratedObject[] {
  const name = ingressName(gateway);
  const { namespace } = gateway.ref;
  const { infrastructure } = gateway.spec;
  const selector = { [GATEWAY_NAME]: ingressLabel(gateway) };
  const labels = ingressLabels(gateway);
  const annotations = Object.fromEntries(infrastructure.annotations);
  const owner = {
    ...{ apiVersion: 'gateway.networking.k8s.io/v1', kind: 'Gateway', name: gateway.ref.name },
    ...{ uid: gateway.metadata.uid, controller: true },
  };
  const metadata = { name, namespace, labels, annotations, ownerReferences: [owner] };
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    {
      ...{ apiVersion: 'apps/v1', kind: 'Deployment', metadata },
      spec: {
        selector: { matchLabels: selector },
        template: {
          metadata: {
            // Its clients are strangers, and to the mesh it speaks HBONE itself: there is nothing to redirect.
            labels: { ...labels, [DATAPLANE_MODE]: DATAPLANE_MODE_NONE },
            annotations: {
              ...annotations,
              'prometheus.io/scrape': 'true',
              'prometheus.io/port': String(STATS_PORT),
              'prometheus.io/path': '/stats/prometheus',
            },
          },
          // Ports below 1024, for a program that is not root.
          spec: {
            securityContext: {
              sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '0' }],
            },
            ...proxyPodSpec(name, settings, { name: 'istio-proxy', role: 'gateway', ports: [] }),
          },
        },
      },
    },
    ...ingressServices(gateway, metadata, { selector, ports: servicePorts(listeners) }),
  ];
}

/** One by the gateway's name, and one for each address that it asks for. */
function ingressServices(
  gateway: Gateway,
  metadata: GeneratedObject['metadata'],
  { selector, ports }: Readonly<{ selector: object; ports: readonly object[] }>,
): GeneratedObject[] {
  const { fixed, others } = askedAddresses(gateway);
  const asked = serviceType(gateway);
  const isBalanced = asked === 'LoadBalancer';
  const service = (name: string, spec: object): GeneratedObject => ({
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { ...metadata, name } },
    spec: { selector, ports, ...spec },
  });
  const status = { name: 'status-port', port: READINESS_PORT, protocol: 'TCP', appProtocol: 'tcp' };
  return [
    service(metadata.name, {
      type: isBalanced && !others ? 'ClusterIP' : asked,
      ipFamilyPolicy: 'PreferDualStack',
      ports: [status, ...ports],
    }),
    ...(isBalanced ? fixed : []).map((ip) =>
      service(fixedName(gateway, ip), {
        ...{ type: 'LoadBalancer', loadBalancerIP: ip },
        ...{ ipFamilyPolicy: 'SingleStack', ipFamilies: [ip.includes(':') ? 'IPv6' : 'IPv4'] },
      }),
    ),
  ];
}

/** The labels of all that runs a gateway. */
export function ingressLabels(gateway: Gateway): Readonly<Record<string, string>> {
  const { infrastructure, gatewayClassName } = gateway.spec;
  return {
    ...Object.fromEntries(infrastructure.labels),
    [GATEWAY_NAME]: ingressLabel(gateway),
    [GATEWAY_CLASS_NAME]: gatewayClassName,
    [GATEWAY_MANAGED]: GATEWAY_MANAGED_INGRESS,
  };
}

function serviceType({ metadata }: Gateway): string {
  const asked = metadata.annotations.get(SERVICE_TYPE) ?? '';
  return SERVICE_TYPES.has(asked) ? asked : 'LoadBalancer';
}

/** Each port once, however many listeners it has. */
function servicePorts(listeners: readonly EvaluatedListener[]): object[] {
  const ports = new Map<string, object>();
  for (const { spec } of listeners.filter(isServed)) {
    const protocol = spec.protocol === 'UDP' ? 'UDP' : 'TCP';
    const { port } = spec;
    const name = `${protocol.toLowerCase()}-${port}`;
    ports.set(name, { name, port, targetPort: port, protocol, ...appProtocol(spec.protocol) });
  }
  return [...ports.values()];
}

/** For clients inside of the mesh. */
function appProtocol(protocol: string): object {
  const known = new Map([
    ...([['HTTP', 'http'] as const, ['HTTPS', 'tls'] as const, ['TLS', 'tls'] as const] as const),
    ['TCP', 'tcp'],
  ]).get(protocol);
  return known === undefined ? {} : { appProtocol: known };
}
