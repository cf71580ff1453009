import { formatCidr } from '../../base/address.ts';
import { SLICE_SERVICE_NAME } from '../../mesh/kubernetes/labels.ts';
import { SERVICE_NETWORKS } from './addresses.ts';
import type { KubernetesObject } from './api.ts';
import { isRecord } from './documents.ts';
import { balancedVips } from './load-balancers.ts';
import { servicePorts, serviceVips, type Family } from './services.ts';

const SERVICE_TABLE = 'halo_services';

export type PlainBackend = Readonly<{ ip: string; port: number; node: string }>;

/** One port of one Service address, and where a plain client of it ends up. */
export type PlainService = Readonly<{
  vip: string;
  protocol: 'tcp' | 'udp';
  port: number;
  backends: readonly PlainBackend[];
  /** internalTrafficPolicy Local. */
  sameNodeOnly: boolean;
}>;

/** What Services and their slices come to for clients outside of the mesh. */
export function plainServices(
  services: readonly KubernetesObject[],
  slices: readonly KubernetesObject[],
): PlainService[] {
  const slicesByService = new Map<string, KubernetesObject[]>();
  for (const slice of slices) {
    const service = slice.metadata.labels?.[SLICE_SERVICE_NAME];
    if (service === undefined) continue;
    const key = `${slice.metadata.namespace}/${service}`;
    const list = slicesByService.get(key) ?? [];
    if (list.push(slice) === 1) slicesByService.set(key, list);
  }
  return services.flatMap((service) => {
    const spec = isRecord(service['spec']) ? service['spec'] : {};
    const own = slicesByService.get(`${service.metadata.namespace}/${service.metadata.name}`) ?? [];
    return [...new Set([...serviceVips(service), ...balancedVips(service)])].flatMap((vip) =>
      servicePorts(service).flatMap((port) => {
        const protocol = port.protocol.toLowerCase();
        if (protocol !== 'tcp' && protocol !== 'udp') return [];
        const family: Family = vip.includes(':') ? 'IPv6' : 'IPv4';
        const backends = own.flatMap((slice) =>
          readyBackends(slice, family, port.name, port.protocol),
        );
        const sameNodeOnly = spec['internalTrafficPolicy'] === 'Local';
        return [{ vip, protocol, port: port.port, backends, sameNodeOnly } as const];
      }),
    );
  });
}

function readyBackends(
  slice: KubernetesObject,
  family: Family,
  portName: string,
  protocol: string,
): PlainBackend[] {
  if (slice['addressType'] !== family) return [];
  const ports: readonly unknown[] = Array.isArray(slice['ports']) ? slice['ports'] : [];
  const port = ports
    .filter(isRecord)
    .find(
      (entry) => (entry['name'] ?? '') === portName && (entry['protocol'] ?? 'TCP') === protocol,
    );
  const number = port?.['port'];
  if (typeof number !== 'number') return [];
  const endpoints: readonly unknown[] = Array.isArray(slice['endpoints']) ? slice['endpoints'] : [];
  return endpoints.filter(isRecord).flatMap((endpoint) => {
    const conditions = isRecord(endpoint['conditions']) ? endpoint['conditions'] : {};
    if (conditions['ready'] === false) return [];
    const addresses: readonly unknown[] = Array.isArray(endpoint['addresses'])
      ? endpoint['addresses']
      : [];
    const node = typeof endpoint['nodeName'] === 'string' ? endpoint['nodeName'] : '';
    // The first address only, as kube-proxy.
    const [ip] = addresses;
    return typeof ip === 'string' ? [{ ip, port: number, node }] : [];
  });
}

/**
 * The rules of one node, as a file for `nft -f` that replaces the table in one step: each new connection to a Service
 * address goes to one ready backend, chosen at random; an address without any is refused.
 */
export function formatServiceRules(services: readonly PlainService[], node: string): string {
  const chains: string[] = [];
  const elements: Record<Family, string[]> = { IPv4: [], IPv6: [] };
  const hairpins: Record<Family, Set<string>> = { IPv4: new Set(), IPv6: new Set() };
  for (const { vip, protocol, port, backends, sameNodeOnly } of services) {
    const usable = backends.filter((backend) => !sameNodeOnly || backend.node === node);
    if (usable.length === 0) continue;
    const family: Family = vip.includes(':') ? 'IPv6' : 'IPv4';
    const chain = `service_${chains.length}`;
    const targets = usable.map(({ ip, port: to }, index) => `${index} : ${ip} . ${to}`).join(', ');
    const ip = family === 'IPv4' ? 'ip' : 'ip6';
    chains.push(
      `  chain ${chain} {`,
      `    meta l4proto ${protocol} dnat ${ip} to numgen random mod ${usable.length} map { ${targets} }`,
      '  }',
    );
    elements[family].push(`${vip} . ${protocol} . ${port} : jump ${chain}`);
    for (const backend of usable) hairpins[family].add(`${backend.ip} . ${backend.ip}`);
  }
  const [v4 = '', v6 = ''] = SERVICE_NETWORKS.map(formatCidr);
  const lookUp = [
    '    ip daddr . meta l4proto . th dport vmap @services4',
    '    ip6 daddr . meta l4proto . th dport vmap @services6',
  ];
  const refuse = [`ip daddr ${v4}`, `ip6 daddr ${v6}`].flatMap((network) => [
    `    ${network} meta l4proto tcp reject with tcp reset`,
    `    ${network} reject`,
  ]);
  return [
    `table inet ${SERVICE_TABLE}`,
    `delete table inet ${SERVICE_TABLE}`,
    `table inet ${SERVICE_TABLE} {`,
    ...formatSet('set', 'hairpin4', 'ipv4_addr . ipv4_addr', [...hairpins.IPv4]),
    ...formatSet('set', 'hairpin6', 'ipv6_addr . ipv6_addr', [...hairpins.IPv6]),
    ...chains,
    ...formatSet(
      'map',
      'services4',
      'ipv4_addr . inet_proto . inet_service : verdict',
      elements.IPv4,
    ),
    ...formatSet(
      'map',
      'services6',
      'ipv6_addr . inet_proto . inet_service : verdict',
      elements.IPv6,
    ),
    ...formatChain('prerouting', 'nat hook prerouting priority dstnat', lookUp),
    ...formatChain('output', 'nat hook output priority -100', lookUp),
    // A pod that is sent back to itself would not know its own address as a stranger's.
    ...formatChain('postrouting', 'nat hook postrouting priority srcnat', [
      '    ip saddr . ip daddr @hairpin4 masquerade',
      '    ip6 saddr . ip6 daddr @hairpin6 masquerade',
    ]),
    // What still has a Service address here found no backend.
    ...formatChain('forward', 'filter hook forward priority filter', refuse),
    ...formatChain('local', 'filter hook output priority filter', refuse),
    '}',
    '',
  ].join('\n');
}

function formatSet(
  keyword: 'set' | 'map',
  name: string,
  type: string,
  elements: readonly string[],
): string[] {
  const list = elements.length === 0 ? [] : [`    elements = { ${elements.join(', ')} }`];
  return [`  ${keyword} ${name} {`, `    type ${type}`, ...list, '  }'];
}

function formatChain(name: string, hook: string, rules: readonly string[]): string[] {
  return [`  chain ${name} {`, `    type ${hook}; policy accept;`, ...rules, '  }'];
}
