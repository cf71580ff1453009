import { readFileSync } from 'node:fs';
import { tryParseIpAddress, type SocketAddress } from '../../base/address.ts';

/** resolv.conf(5): MAXNS. */
const MAX_NAMESERVERS = 3;
const DNS_PORT = 53;

/** The resolvers of a resolv.conf(5), in their order; at most three. Lines that name none are skipped. */
function parseResolvConf(text: string): readonly SocketAddress[] {
  const found: SocketAddress[] = [];
  for (const line of text.split('\n')) {
    const [word, address = ''] = line.trim().split(/\s+/);
    if (word !== 'nameserver') continue;
    const ip = tryParseIpAddress(address);
    if (ip !== undefined && found.length < MAX_NAMESERVERS) found.push({ ip, port: DNS_PORT });
  }
  return found;
}

/** The resolvers of this process; none where there is no such file, and then nothing can be forwarded. */
export function readResolvers(path = '/etc/resolv.conf'): readonly SocketAddress[] {
  try {
    return parseResolvConf(readFileSync(path, 'utf8'));
  } catch {
    return [];
  }
}
