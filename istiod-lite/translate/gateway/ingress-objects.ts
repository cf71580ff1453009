import { familyOf } from '../../../base/address.ts';
import type { Gateway } from '../../../mesh/kubernetes/gateway.ts';
import {
  GATEWAY_MANAGED,
  GATEWAY_MANAGED_INGRESS,
  INGRESS_CLASS,
  INGRESS_CONTROLLER,
  SERVICE_TYPE,
} from '../../../mesh/kubernetes/labels.ts';
import {
  proxyLabels,
  proxyMetadata,
  proxySelector,
  proxyWorkload,
  STATUS_SERVICE_PORT,
  type ProxyMetadata,
} from '../proxy-objects.ts';
import type { GeneratedObject, MeshSettings } from '../settings.ts';
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

/** Ports below 1024, for a program that is not root. */
const POD_SECURITY = { sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '0' }] };

/** The objects that run a gateway: ServiceAccount, Deployment, and Services with the ports of its listeners. */
export function ingressObjects(
  gateway: Gateway,
  listeners: readonly EvaluatedListener[],
  settings: MeshSettings,
): GeneratedObject[] {
  const labels = ingressLabels(gateway);
  const metadata = proxyMetadata(gateway, { name: ingressName(gateway), labels });
  return [
    ...proxyWorkload(metadata, settings, {
      container: { name: 'istio-proxy', role: 'gateway', ports: [] },
      podSecurity: POD_SECURITY,
    }),
    ...ingressServices(gateway, metadata, servicePorts(listeners)),
  ];
}

/** One by the gateway's name, and one for each address that it asks for. */
function ingressServices(
  gateway: Gateway,
  metadata: ProxyMetadata,
  ports: readonly object[],
): GeneratedObject[] {
  const { fixed, others } = askedAddresses(gateway);
  const asked = serviceType(gateway);
  const isBalanced = asked === 'LoadBalancer';
  const selector = proxySelector(metadata);
  const service = (name: string, spec: object): GeneratedObject => ({
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { ...metadata, name } },
    spec: { selector, ports, ...spec },
  });
  return [
    service(metadata.name, {
      type: isBalanced && !others ? 'ClusterIP' : asked,
      ipFamilyPolicy: 'PreferDualStack',
      ports: [STATUS_SERVICE_PORT, ...ports],
    }),
    ...(isBalanced ? fixed : []).map((ip) =>
      service(fixedName(gateway, ip), {
        ...{ type: 'LoadBalancer', loadBalancerIP: ip },
        ...{ ipFamilyPolicy: 'SingleStack', ipFamilies: [familyOf(ip) === 6 ? 'IPv6' : 'IPv4'] },
      }),
    ),
  ];
}

/** The labels of all that runs a gateway. */
export function ingressLabels(gateway: Gateway): Readonly<Record<string, string>> {
  const instances = ingressLabel(gateway);
  return proxyLabels(gateway, { instances, managed: GATEWAY_MANAGED_INGRESS });
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
