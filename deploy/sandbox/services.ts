import { describeError, MeshError } from '../../base/errors.ts';
import { cidrContains, parseIpAddress, tryParseIpAddress } from '../../base/address.ts';
import { AddressPool, CLUSTER_DNS_VIP, SERVICE_NETWORKS } from './addresses.ts';
import type { KubernetesObject } from './api.ts';
import { isRecord } from './documents.ts';
import { LoadBalancers } from './load-balancers.ts';
import type { ObjectStore } from './store.ts';

/** Below it are the addresses that clusters give to Services they name themselves, such as cluster DNS. */
const FIRST_VIP = 100;

export type Family = 'IPv4' | 'IPv6';

export type ServicePort = Readonly<{
  name: string;
  protocol: string;
  port: number;
  targetPort: number | string;
  appProtocol?: string;
}>;

/** Gives Services their addresses: one family, the other, or both, as they ask. */
export class ServiceAddresses {
  readonly #store: ObjectStore;
  readonly #ipv6: boolean;
  readonly #pools: Readonly<Record<Family, AddressPool>>;
  readonly #given = new Map<string, readonly string[]>();
  readonly #balancers: LoadBalancers;

  constructor(store: ObjectStore, ipv6: boolean) {
    this.#store = store;
    this.#ipv6 = ipv6;
    const [v4, v6] = SERVICE_NETWORKS;
    if (v4 === undefined || v6 === undefined) throw new Error('Unreachable: two service networks');
    this.#pools = { IPv4: new AddressPool(v4, FIRST_VIP), IPv6: new AddressPool(v6, FIRST_VIP) };
    this.#pools.IPv4.claim(CLUSTER_DNS_VIP, 'kube-dns');
    this.#balancers = new LoadBalancers(store, this.#pools);
  }

  /** @returns what could not be done, a sentence each. */
  reconcile(): string[] {
    const problems: string[] = [];
    const services = this.#store.list('Service');
    this.#takeBack(services);
    this.#balancers.takeBack(services);
    for (const service of services) {
      try {
        const given = this.#give(service);
        this.#balancers.reconcile(given, serviceVips(given));
      } catch (error) {
        problems.push(describeError(error));
      }
    }
    return problems;
  }

  #give(service: KubernetesObject): KubernetesObject {
    const spec = isRecord(service['spec']) ? service['spec'] : {};
    if (spec['type'] === 'ExternalName' || Array.isArray(spec['clusterIPs'])) return service;
    const { uid = '', namespace = '', name } = service.metadata;
    const families = this.#families(spec);
    if (spec['clusterIP'] === 'None') {
      return this.#write(service, spec, families, ['None']);
    }
    const asked = typeof spec['clusterIP'] === 'string' ? spec['clusterIP'] : '';
    const ips = families.map((family, index) => {
      if (index > 0 || asked === '') return this.#pools[family].take(uid);
      const ip = tryParseIpAddress(asked);
      const inNetwork = SERVICE_NETWORKS.some(
        (network) => ip !== undefined && cidrContains(network, ip),
      );
      if (ip === undefined || !inNetwork)
        throw new MeshError(
          'ERR_SERVICE_ADDRESS',
          'local',
          `Cannot give Service ${namespace}/${name} the address ${JSON.stringify(asked)}: it is not in 10.96.0.0/16`,
        );
      if (ip !== CLUSTER_DNS_VIP) this.#pools[family].claim(ip, uid);
      return ip;
    });
    this.#given.set(uid, ips);
    return this.#write(service, spec, families, ips);
  }

  #families(spec: Readonly<Record<string, unknown>>): readonly Family[] {
    const all: readonly Family[] = this.#ipv6 ? ['IPv4', 'IPv6'] : ['IPv4'];
    const asked = Array.isArray(spec['ipFamilies'])
      ? all.filter((family) => (spec['ipFamilies'] as unknown[]).includes(family))
      : [];
    const ordered = Array.isArray(spec['ipFamilies'])
      ? (spec['ipFamilies'] as unknown[]).flatMap((family) =>
          asked.filter((known) => known === family),
        )
      : [];
    const policy = spec['ipFamilyPolicy'];
    const dual = policy === 'PreferDualStack' || policy === 'RequireDualStack' || asked.length > 1;
    const first = ordered[0] ?? 'IPv4';
    return dual ? [first, ...all.filter((family) => family !== first)] : [first];
  }

  #write(
    service: KubernetesObject,
    spec: Readonly<Record<string, unknown>>,
    families: readonly Family[],
    ips: readonly string[],
  ): KubernetesObject {
    return this.#store.put({
      ...service,
      spec: {
        type: 'ClusterIP',
        ...spec,
        clusterIP: ips[0] ?? 'None',
        clusterIPs: ips,
        ipFamilies: families,
        ipFamilyPolicy:
          spec['ipFamilyPolicy'] ?? (families.length > 1 ? 'PreferDualStack' : 'SingleStack'),
      },
      status: service['status'] ?? { loadBalancer: {} },
    });
  }

  #takeBack(services: readonly KubernetesObject[]): void {
    const alive = new Set(services.map((service) => service.metadata.uid));
    for (const [uid, ips] of this.#given) {
      if (alive.has(uid)) continue;
      for (const ip of ips)
        this.#pools[ip.includes(':') ? 'IPv6' : 'IPv4'].give(parseIpAddress(ip));
      this.#given.delete(uid);
    }
  }
}

/** The Service's own addresses: none for a headless one. */
export function serviceVips(service: KubernetesObject): string[] {
  const spec = isRecord(service['spec']) ? service['spec'] : {};
  const ips = spec['clusterIPs'];
  if (!Array.isArray(ips)) return [];
  return ips.filter((ip): ip is string => typeof ip === 'string' && ip !== 'None');
}

export function serviceFamilies(service: KubernetesObject): Family[] {
  const spec = isRecord(service['spec']) ? service['spec'] : {};
  const families = Array.isArray(spec['ipFamilies']) ? spec['ipFamilies'] : [];
  return (['IPv4', 'IPv6'] as const).filter((family) => families.includes(family));
}

export function servicePorts(service: KubernetesObject): ServicePort[] {
  const spec = isRecord(service['spec']) ? service['spec'] : {};
  const ports: readonly unknown[] = Array.isArray(spec['ports']) ? spec['ports'] : [];
  return ports.flatMap((entry) => {
    if (!isRecord(entry) || typeof entry['port'] !== 'number') return [];
    const { name, protocol, port, targetPort, appProtocol } = entry;
    return [
      {
        name: typeof name === 'string' ? name : '',
        protocol: typeof protocol === 'string' ? protocol : 'TCP',
        port,
        targetPort:
          typeof targetPort === 'number' || typeof targetPort === 'string' ? targetPort : port,
        ...(typeof appProtocol === 'string' && { appProtocol }),
      },
    ];
  });
}
