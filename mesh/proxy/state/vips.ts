import { familyOf, makeCidr, type AddressFamily, type IpAddress } from '../../../base/address.ts';
import { serviceKey, type NetworkAddress, type Service } from '../../model/service.ts';

const WIDTH = { 4: 32, 6: 128 } as const;

/** Services by VIP: by exact address, else by the networks that hold it. */
export class VipIndex {
  readonly #exact = new Map<string, Map<IpAddress, readonly Service[]>>();
  readonly #ranges = new Map<string, RangeIndex>();

  add(service: Service): void {
    for (const address of service.addresses) this.#edit(address, (list) => [...list, service]);
  }

  remove(service: Service): void {
    for (const address of service.addresses)
      this.#edit(address, (list) => list.filter((other) => other !== service));
  }

  /**
   * The service that a client of `clientNamespace` reaches at an address: of several the one in its own namespace,
   * then the canonical one, then the first; of networks that of its own namespace, then the longest prefix.
   */
  find(network: string, ip: IpAddress, clientNamespace: string): Service | undefined {
    const exact = this.#exact.get(network)?.get(ip) ?? [];
    const chosen = preferService(exact, clientNamespace);
    if (chosen !== undefined) return chosen;
    const ranges = this.#ranges.get(network);
    if (ranges === undefined) return undefined;
    const choices = ranges
      .find(ip)
      .map((services) => preferService(services, clientNamespace))
      .filter((service) => service !== undefined);
    // From the longest prefix to the shortest, so the first of our own namespace is the best of them.
    return choices.find((service) => service.namespace === clientNamespace) ?? choices[0];
  }

  #edit(address: NetworkAddress, change: (list: readonly Service[]) => readonly Service[]): void {
    const { network, ip, prefix } = address;
    if (prefix === undefined || prefix === WIDTH[familyOf(ip)]) {
      const byIp = this.#exact.get(network) ?? new Map<IpAddress, readonly Service[]>();
      const list = change(byIp.get(ip) ?? []);
      if (list.length > 0) byIp.set(ip, list);
      else byIp.delete(ip);
      if (byIp.size > 0) this.#exact.set(network, byIp);
      else this.#exact.delete(network);
      return;
    }
    const ranges = this.#ranges.get(network) ?? new RangeIndex();
    ranges.edit(ip, prefix, change);
    if (ranges.isEmpty()) this.#ranges.delete(network);
    else this.#ranges.set(network, ranges);
  }
}

/** The networks of one mesh network: a table for each prefix length that occurs. */
class RangeIndex {
  readonly #tables: Record<AddressFamily, Map<number, Map<IpAddress, readonly Service[]>>> = {
    4: new Map(),
    6: new Map(),
  };
  /** Longest first. */
  readonly #lengths: Record<AddressFamily, readonly number[]> = { 4: [], 6: [] };

  edit(
    ip: IpAddress,
    prefix: number,
    change: (list: readonly Service[]) => readonly Service[],
  ): void {
    const family = familyOf(ip);
    const tables = this.#tables[family];
    const table = tables.get(prefix) ?? new Map<IpAddress, readonly Service[]>();
    const base = makeCidr(ip, prefix).ip;
    const list = change(table.get(base) ?? []);
    if (list.length > 0) table.set(base, list);
    else table.delete(base);
    if (table.size > 0) tables.set(prefix, table);
    else tables.delete(prefix);
    this.#lengths[family] = [...tables.keys()].sort((a, b) => b - a);
  }

  isEmpty(): boolean {
    return this.#tables[4].size === 0 && this.#tables[6].size === 0;
  }

  /** The services of each network that holds `ip`, the longest prefix first. */
  find(ip: IpAddress): readonly (readonly Service[])[] {
    const family = familyOf(ip);
    return this.#lengths[family].flatMap((prefix) => {
      const services = this.#tables[family].get(prefix)?.get(makeCidr(ip, prefix).ip);
      return services === undefined ? [] : [services];
    });
  }
}

/** Of services that share an address or a name, the one that a client of `clientNamespace` means. */
export function preferService(
  services: readonly Service[],
  clientNamespace: string,
): Service | undefined {
  const visible = services.filter(
    (service) => !service.namespaceOnly || service.namespace === clientNamespace,
  );
  return (
    visible.find((service) => service.namespace === clientNamespace) ??
    visible.find((service) => service.canonical) ??
    visible[0]
  );
}

export function keyOfService(service: Service): ReturnType<typeof serviceKey> {
  return serviceKey(service.namespace, service.hostname);
}
