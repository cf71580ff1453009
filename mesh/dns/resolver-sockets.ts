import { parseIpAddress, type IpAddress } from '../../base/address.ts';
import type { Netns } from '../../net/netns.ts';
import { connectTcp } from '../../net/tcp.ts';
import { openUdp } from '../../net/udp.ts';
import type { ResolverSockets } from './sockets.ts';

/** Sockets towards resolvers: with the options of a pod they see its address, and its rules let them pass. */
export function resolverSockets(
  options: Readonly<{ netns?: Netns; mark?: number }> = {},
): ResolverSockets {
  return {
    openUdp: ({ ip }) => openUdp({ local: { ip: anyAddress(ip), port: 0 }, ...options }),
    connectTcp: (to, { timeoutMs }) => connectTcp(to, { ...options, timeoutMs }),
  };
}

function anyAddress(ip: IpAddress): IpAddress {
  return parseIpAddress(ip.includes(':') ? '::' : '0.0.0.0');
}
