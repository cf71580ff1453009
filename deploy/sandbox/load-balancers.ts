import { isDeepStrictEqual } from 'node:util';
import { cidrContains, familyOf, tryParseIpAddress, type IpAddress } from '../../base/address.ts';
import { SERVICE_NETWORKS, type AddressPool } from './addresses.ts';
import type { KubernetesObject } from './api.ts';
import { isRecord } from './documents.ts';
import type { ObjectStore } from './store.ts';

type Pools = Readonly<Record<'IPv4' | 'IPv6', AddressPool>>;

/**
 * What balances the load of Services of type LoadBalancer: the sandbox itself, at the Service's own addresses, or at the one
 * that it asks for by `loadBalancerIP`, if that is a free one of the Services' network. Until then it has none, as in a
 * cluster.
 */
export class LoadBalancers {
  readonly #store: ObjectStore;
  readonly #pools: Pools;
  /** What was asked for and given, by the Service's uid. */
  readonly #given = new Map<string, IpAddress>();

  /** @param pools are those of the Services' own addresses. */
  constructor(store: ObjectStore, pools: Pools) {
    this.#store = store;
    this.#pools = pools;
  }

  /** Takes back what no Service asks for any more. */
  takeBack(services: readonly KubernetesObject[]): void {
    const asked = new Map(services.map((service) => [service.metadata.uid, askedIp(service)]));
    for (const [uid, ip] of this.#given) {
      if (asked.get(uid) === ip) continue;
      this.#poolOf(ip).give(ip);
      this.#given.delete(uid);
    }
  }

  /** Writes down where a Service's load is balanced. @param own are the Service's own addresses. */
  reconcile(service: KubernetesObject, own: readonly string[]): void {
    const before = isRecord(service['status']) ? service['status'] : {};
    const status = { ...before, loadBalancer: this.#balancer(service, own) };
    if (!isDeepStrictEqual(status, before)) this.#store.put({ ...service, status });
  }

  #balancer(
    service: KubernetesObject,
    own: readonly string[],
  ): Readonly<{ ingress?: readonly object[] }> {
    if (valueOf(service, 'type') !== 'LoadBalancer') return {};
    const ips = isAsking(service) ? this.#give(service) : own;
    return ips.length === 0 ? {} : { ingress: ips.map((ip) => ({ ip })) };
  }

  #give(service: KubernetesObject): readonly string[] {
    const ip = askedIp(service);
    const { uid = '' } = service.metadata;
    if (ip === undefined || !this.#poolOf(ip).tryClaim(ip, `load balancer of ${uid}`)) return [];
    this.#given.set(uid, ip);
    return [ip];
  }

  #poolOf(ip: IpAddress): AddressPool {
    return this.#pools[familyOf(ip) === 6 ? 'IPv6' : 'IPv4'];
  }
}

/** Where clients of a Service's load balancer go. */
export function balancedVips(service: KubernetesObject): string[] {
  const status = isRecord(service['status']) ? service['status'] : {};
  const balancer = isRecord(status['loadBalancer']) ? status['loadBalancer'] : {};
  const ingress: readonly unknown[] = Array.isArray(balancer['ingress']) ? balancer['ingress'] : [];
  return ingress.flatMap((each) => {
    const ip = isRecord(each) ? each['ip'] : undefined;
    return typeof ip === 'string' ? [ip] : [];
  });
}

function isAsking(service: KubernetesObject): boolean {
  return (valueOf(service, 'loadBalancerIP') ?? '') !== '';
}

/** What a Service asks for, if that is to be had here at all. */
function askedIp(service: KubernetesObject): IpAddress | undefined {
  const text = valueOf(service, 'loadBalancerIP');
  if (valueOf(service, 'type') !== 'LoadBalancer' || typeof text !== 'string') return undefined;
  const ip = tryParseIpAddress(text);
  if (ip === undefined) return undefined;
  return SERVICE_NETWORKS.some((network) => cidrContains(network, ip)) ? ip : undefined;
}

function valueOf(service: KubernetesObject, field: string): unknown {
  return isRecord(service['spec']) ? service['spec'][field] : undefined;
}
