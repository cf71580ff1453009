import { tryParseIpAddress, type IpAddress } from '../../base/address.ts';
import { SLICE_SERVICE_NAME } from '../../mesh/kubernetes/labels.ts';
import type { KubernetesObject } from './api.ts';
import { isRecord } from './documents.ts';
import { serviceVips } from './services.ts';

const SUFFIX = '.svc.cluster.local';

/** Names, lower case and without final dot, with their addresses; a name without any exists and has none. */
export type DnsZone = ReadonlyMap<string, readonly IpAddress[]>;

/**
 * The names of a cluster: a Service by its VIPs, or for a headless one by the addresses of its ready endpoints, and
 * each of these under its host name (`<hostname>.<service>...`) or its address with dashes.
 */
export function buildZone(
  services: Iterable<KubernetesObject>,
  slices: Iterable<KubernetesObject>,
): DnsZone {
  const zone = new Map<string, IpAddress[]>();
  const headless = new Map<string, string>();
  for (const service of services) {
    const { name, namespace = '' } = service.metadata;
    const host = `${name}.${namespace}${SUFFIX}`;
    const vips = serviceVips(service).flatMap((ip) => tryParseIpAddress(ip) ?? []);
    zone.set(host, vips);
    if (vips.length === 0) headless.set(`${namespace}/${name}`, host);
  }
  for (const slice of slices) {
    const { namespace = '', labels = {} } = slice.metadata;
    const host = headless.get(`${namespace}/${labels[SLICE_SERVICE_NAME] ?? ''}`);
    if (host !== undefined) addEndpoints(zone, host, slice);
  }
  return zone;
}

function addEndpoints(zone: Map<string, IpAddress[]>, host: string, slice: KubernetesObject): void {
  const endpoints: readonly unknown[] = Array.isArray(slice['endpoints']) ? slice['endpoints'] : [];
  for (const endpoint of endpoints) {
    if (!isRecord(endpoint)) continue;
    const conditions = isRecord(endpoint['conditions']) ? endpoint['conditions'] : {};
    if (conditions['ready'] === false) continue;
    const addresses = Array.isArray(endpoint['addresses'])
      ? (endpoint['addresses'] as unknown[])
      : [];
    for (const address of addresses) {
      const ip = typeof address === 'string' ? tryParseIpAddress(address) : undefined;
      if (ip === undefined) continue;
      const own = endpoint['hostname'];
      const label = typeof own === 'string' ? own : ip.replaceAll(/[.:]/g, '-');
      append(zone, host, ip);
      append(zone, `${label}.${host}`.toLowerCase(), ip);
    }
  }
}

function append(zone: Map<string, IpAddress[]>, name: string, ip: IpAddress): void {
  const ips = zone.get(name);
  if (ips === undefined) zone.set(name, [ip]);
  else ips.push(ip);
}
