import { parseIpAddress } from '../../base/address.ts';
import { policyKey, type PolicyKey } from '../../mesh/model/authorization.ts';
import type { GatewayAddress } from '../../mesh/model/gateway-address.ts';
import { DEFAULT_TRUST_DOMAIN } from '../../mesh/model/identity.ts';
import {
  serviceKey,
  type LoadBalancing,
  type PortMapping,
  type Service,
  type ServiceKey,
} from '../../mesh/model/service.ts';
import type { Workload, WorkloadUid } from '../../mesh/model/workload.ts';

/** The uid of a pod `<namespace>/<name>` of the cluster "Kubernetes". */
export function podUid(name: string, namespace = 'shop'): WorkloadUid {
  return `Kubernetes//Pod/${namespace}/${name}` as WorkloadUid;
}

/** Reads `<namespace>/<hostname>`. */
export function keyOf(text: string): ServiceKey {
  const [namespace = '', hostname = ''] = text.split('/');
  return serviceKey(namespace, hostname);
}

/** Reads `80:8080` (service port, target port) lists; `80:0` is a port by name. */
export function ports(...texts: readonly string[]): readonly PortMapping[] {
  return texts.map((text) => {
    const [servicePort = 0, targetPort = servicePort] = text.split(':').map(Number);
    return { servicePort, targetPort, appProtocol: 'UNKNOWN' };
  });
}

export type WorkloadFields = Partial<
  Omit<Workload, 'addresses' | 'services' | 'authorizationPolicies'>
> &
  Readonly<{
    name: string;
    ips?: readonly string[];
    /** Port lists by `<namespace>/<hostname>`, see ports(). */
    serves?: Readonly<Record<string, readonly string[]>>;
    /** `<namespace>/<name>`. */
    policies?: readonly string[];
  }>;

/** A healthy HBONE pod of namespace shop on node-a; its account has the pod's name where nothing else is given. */
export function makeWorkload(fields: WorkloadFields): Workload {
  const { ips = [], serves = {}, policies = [], ...rest } = fields;
  const namespace = fields.namespace ?? 'shop';
  return {
    uid: podUid(fields.name, namespace),
    namespace,
    addresses: ips.map(parseIpAddress),
    hostname: '',
    network: '',
    clusterId: 'Kubernetes',
    tunnelProtocol: 'HBONE',
    nativeTunnel: false,
    trustDomain: DEFAULT_TRUST_DOMAIN,
    serviceAccount: fields.name,
    node: 'node-a',
    canonicalName: fields.name,
    canonicalRevision: 'latest',
    workloadType: 'DEPLOYMENT',
    workloadName: fields.name,
    healthy: true,
    hostNetwork: false,
    locality: { region: '', zone: '', subzone: '' },
    capacity: 1,
    services: new Map(Object.entries(serves).map(([key, list]) => [keyOf(key), ports(...list)])),
    authorizationPolicies: policies.map((text): PolicyKey => {
      const [policyNamespace = '', name = ''] = text.split('/');
      return policyKey(policyNamespace, name);
    }),
    ...rest,
  };
}

export type ServiceFields = Partial<Omit<Service, 'addresses' | 'ports' | 'loadBalancing'>> &
  Readonly<{
    name: string;
    /** `ip` or `ip/prefix`, on `network` where that is given. */
    vips?: readonly string[];
    network?: string;
    /** See ports(); "80:8080" where nothing else is given. */
    ports?: readonly string[];
    loadBalancing?: Partial<LoadBalancing>;
  }>;

/** The service `<name>.shop.svc.cluster.local`. */
export function makeService(fields: ServiceFields): Service {
  const { vips = [], network = '', ports: list = ['80:8080'], loadBalancing, ...rest } = fields;
  const namespace = fields.namespace ?? 'shop';
  return {
    namespace,
    hostname: `${fields.name}.${namespace}.svc.cluster.local`,
    addresses: vips.map((vip) => {
      const [ip = '', prefix] = vip.split('/');
      const address = { network, ip: parseIpAddress(ip) };
      return prefix === undefined ? address : { ...address, prefix: Number(prefix) };
    }),
    ports: ports(...list),
    subjectAltNames: [],
    weightedWaypoints: [],
    loadBalancing: {
      routingPreference: [],
      mode: 'UNSPECIFIED',
      allowUnhealthy: false,
      ...loadBalancing,
    },
    ipFamilies: 'AUTOMATIC',
    canonical: false,
    ingressUseWaypoint: false,
    namespaceOnly: false,
    ...rest,
  };
}

/** A gateway by `<namespace>/<hostname>`, or by address on `network`. */
export function gatewayAt(to: string, network = '', hboneMtlsPort = 15008): GatewayAddress {
  const [namespace = '', hostname] = to.split('/');
  return hostname === undefined
    ? { destination: { kind: 'address', network, ip: parseIpAddress(to) }, hboneMtlsPort }
    : { destination: { kind: 'hostname', namespace, hostname }, hboneMtlsPort };
}
