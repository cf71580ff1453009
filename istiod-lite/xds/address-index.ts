import { cidrContains, makeCidr, tryParseIpAddress, type Cidr } from '../../base/address.ts';
import type { AddressRecord } from '../../mesh/xds/codec.ts';
import type { MeshResource } from '../translate/mesh-resource.ts';

type Range = Readonly<{ network: string; cidr: Cidr }>;
type Links = Readonly<{
  aliases: readonly string[];
  ranges: readonly Range[];
  services: readonly string[];
  node: string;
}>;

/** Finds addresses by the other names that proxies ask for: VIP or pod address, node, and the service that they belong to. */
export class AddressIndex {
  readonly #links = new Map<string, Links>();
  readonly #byAlias = new Map<string, Set<string>>();
  readonly #byService = new Map<string, Set<string>>();
  readonly #byNode = new Map<string, Set<string>>();
  /** The networks among the addresses of services; few services have any. */
  readonly #ranges = new Map<string, readonly Range[]>();

  /** Takes a resource that is new or different; `undefined` for one that is gone. */
  update(name: string, resource: MeshResource | undefined): void {
    const before = this.#links.get(name);
    for (const alias of before?.aliases ?? []) drop(this.#byAlias, alias, name);
    for (const service of before?.services ?? []) drop(this.#byService, service, name);
    if (before !== undefined) drop(this.#byNode, before.node, name);
    this.#links.delete(name);
    this.#ranges.delete(name);
    const content = resource?.content;
    if (content?.kind !== 'workload' && content?.kind !== 'service') return;
    const links = linksOf(content);
    this.#links.set(name, links);
    for (const alias of links.aliases) put(this.#byAlias, alias, name);
    for (const service of links.services) put(this.#byService, service, name);
    if (links.ranges.length > 0) this.#ranges.set(name, links.ranges);
    if (links.node !== '') put(this.#byNode, links.node, name);
  }

  /** `<network>/<address>` of each of its addresses. */
  aliasesOf(name: string): readonly string[] {
    return this.#links.get(name)?.aliases ?? [];
  }

  /** The names that an alias stands for. */
  named(alias: string): Iterable<string> {
    return this.#byAlias.get(alias) ?? [];
  }

  /** The services of which a network holds the address that `key` names, as `<network>/<address>`. */
  inRange(key: string): readonly string[] {
    const found: string[] = [];
    for (const name of this.#ranges.keys()) if (this.holds(name, [key])) found.push(name);
    return found;
  }

  /** Whether one of these keys is an address in a network of the service. */
  holds(name: string, keys: Iterable<string>): boolean {
    const ranges = this.#ranges.get(name);
    if (ranges === undefined) return false;
    for (const key of keys) {
      const slash = key.indexOf('/');
      const ip = tryParseIpAddress(key.slice(slash + 1));
      const network = key.slice(0, slash);
      const holds = (range: Range): boolean =>
        range.network === network && ip !== undefined && cidrContains(range.cidr, ip);
      if (ranges.some(holds)) return true;
    }
    return false;
  }

  /** The workloads of a service. */
  endpointsOf(service: string): Iterable<string> {
    return this.#byService.get(service) ?? [];
  }

  /** The services of a workload. */
  servicesOf(name: string): readonly string[] {
    return this.#links.get(name)?.services ?? [];
  }

  nodeOf(name: string): string {
    return this.#links.get(name)?.node ?? '';
  }

  /** The workloads of a node. */
  onNode(node: string): Iterable<string> {
    return this.#byNode.get(node) ?? [];
  }
}

function linksOf(content: AddressRecord): Links {
  if (content.kind === 'service') {
    const aliases = content.service.addresses.map(({ network, ip, prefix }) =>
      prefix === undefined ? `${network}/${ip}` : `${network}/${ip}/${prefix}`,
    );
    const ranges = content.service.addresses.flatMap(({ network, ip, prefix }) =>
      prefix === undefined ? [] : [{ network, cidr: makeCidr(ip, prefix) }],
    );
    return { aliases, ranges, services: [], node: '' };
  }
  const { addresses, network, hostNetwork, services, node } = content.workload;
  // Many host-network workloads share an address, so it names none of them.
  const aliases = hostNetwork ? [] : addresses.map((ip) => `${network}/${ip}`);
  return { aliases, ranges: [], services: [...services.keys()], node };
}

function put(index: Map<string, Set<string>>, key: string, name: string): void {
  const names = index.get(key);
  if (names === undefined) index.set(key, new Set([name]));
  else names.add(name);
}

function drop(index: Map<string, Set<string>>, key: string, name: string): void {
  const names = index.get(key);
  names?.delete(name);
  if (names?.size === 0) index.delete(key);
}
