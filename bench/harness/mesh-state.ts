import { parseIpAddress } from '../../base/address.ts';
import { DEFAULT_TRUST_DOMAIN } from '../../mesh/model/identity.ts';
import { serviceKey, type PortMapping, type Service } from '../../mesh/model/service.ts';
import type { Workload, WorkloadUid } from '../../mesh/model/workload.ts';
import { encodeAddress } from '../../mesh/xds/codec.ts';

const ports: readonly PortMapping[] = [
  { servicePort: 80, targetPort: 8080, appProtocol: 'HTTP11' },
  { servicePort: 443, targetPort: 8443, appProtocol: 'TLS' },
];

const namespaceOf = (index: number): string => `ns-${index % 50}`;
/** An address of a network of ours by its number. */
export const ipOf = (first: number, index: number): string =>
  `${first}.${index >> 16}.${(index >> 8) & 255}.${index & 255}`;
const hostnameOf = (index: number): string =>
  `svc-${index}.${namespaceOf(index)}.svc.cluster.local`;

/** The service of that number. */
export function makeService(index: number): Service {
  return {
    name: `svc-${index}`,
    namespace: namespaceOf(index),
    hostname: hostnameOf(index),
    addresses: [{ network: 'network', ip: parseIpAddress(ipOf(10, index)) }],
    ports,
    subjectAltNames: [],
    weightedWaypoints: [],
    loadBalancing: { routingPreference: [], mode: 'UNSPECIFIED', allowUnhealthy: false },
    ipFamilies: 'AUTOMATIC',
    canonical: true,
    ingressUseWaypoint: false,
    namespaceOnly: false,
  };
}

/** The workload of that number, behind one of so many services. */
export function makeWorkload(index: number, serviceCount: number): Workload {
  const service = index % serviceCount;
  const namespace = namespaceOf(service);
  const name = `svc-${service}-7d9c5b8f6d-${index.toString(36).padStart(5, 'x')}`;
  return {
    uid: `Kubernetes//Pod/${namespace}/${name}` as WorkloadUid,
    name,
    namespace,
    addresses: [parseIpAddress(ipOf(11, index))],
    hostname: '',
    network: 'network',
    clusterId: 'Kubernetes',
    tunnelProtocol: 'HBONE',
    nativeTunnel: false,
    trustDomain: DEFAULT_TRUST_DOMAIN,
    serviceAccount: `svc-${service}`,
    node: `node-${index % 100}`,
    canonicalName: `svc-${service}`,
    canonicalRevision: 'latest',
    workloadType: 'DEPLOYMENT',
    workloadName: `svc-${service}`,
    healthy: true,
    hostNetwork: false,
    locality: { region: 'region', zone: `zone-${index % 3}`, subzone: '' },
    capacity: 1,
    services: new Map([[serviceKey(namespace, hostnameOf(service)), ports]]),
    authorizationPolicies: [],
  };
}

/** All of it as the control plane sends it. */
export function encodeState(
  workloads: number,
  services: number,
): { name: string; bytes: Uint8Array }[] {
  return [
    ...Array.from({ length: services }, (_, index) => {
      const service = makeService(index);
      const name = serviceKey(service.namespace, service.hostname);
      return { name, bytes: encodeAddress({ kind: 'service', service }) };
    }),
    ...Array.from({ length: workloads }, (_, index) => {
      const workload = makeWorkload(index, services);
      return { name: workload.uid, bytes: encodeAddress({ kind: 'workload', workload }) };
    }),
  ];
}
