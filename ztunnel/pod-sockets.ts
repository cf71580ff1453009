import { closeSync } from 'node:fs';
import { parseIpAddress, type IpAddress } from '../base/address.ts';
import { MeshError } from '../base/errors.ts';
import {
  DNS_PORT,
  HBONE_PORT,
  INBOUND_PLAINTEXT_PORT,
  OUTBOUND_PORT,
  SOCKS5_PORT,
} from '../mesh/model/ports.ts';
import type { ListenerClient, PodListener } from '../mesh/zds/listeners.ts';
import { findPodSocket, type PodSocketName } from '../mesh/zds/pod-sockets.ts';
import { duplicate } from '../net/descriptor.ts';
import type { Netns } from '../net/netns.ts';
import { isAbsentAddress } from '../net/socket-address.ts';
import { bindListener, type BoundListener } from '../net/tcp.ts';
import type { ZtunnelConfig } from './config.ts';
import { podSocketOptions } from './pod-socket-options.ts';
import type { HandedDns, HandedListener } from './thread-calls.ts';

const PORTS = {
  outbound: OUTBOUND_PORT,
  plaintext: INBOUND_PLAINTEXT_PORT,
  hbone: HBONE_PORT,
} as const;

/** The listening sockets of a pod, as the control thread holds them. */
export type PodSockets = Readonly<{
  outbound: HandedListener;
  plaintext: HandedListener;
  hbone: HandedListener;
  socks5: HandedListener | undefined;
  /** Those that the node agent keeps, if DNS is served. */
  dns: readonly HandedDns[];
}>;

/**
 * Gets the listening sockets of a pod: those that our node agent keeps, so that they outlive this process, or ones made
 * here when the agent has no such channel, or there is no agent.
 *
 * @throws {MeshError} when one cannot be had; none is left open then.
 */
export async function openPodSockets(
  uid: string,
  netns: Netns | undefined,
  config: ZtunnelConfig,
  agent: ListenerClient | undefined,
): Promise<PodSockets> {
  const asked: Promise<PodListener>[] = [];
  const keep = (listener: Promise<PodListener>): Promise<PodListener> => {
    asked.push(listener);
    return listener;
  };
  const open = async (name: keyof typeof PORTS): Promise<HandedListener> => {
    const port = PORTS[name];
    const { fd, transparent } = await keep(
      agent?.request(uid, name) ?? Promise.try(bindInPod, netns, port, config),
    );
    if (config.originalSource === true && !transparent)
      throw new MeshError(
        'ERR_TRANSPARENT',
        'local',
        `Cannot keep client addresses on port ${port} of pod ${uid}: ENABLE_ORIG_SRC asks for it, and the kernel refuses`,
      );
    const kept = agent !== undefined;
    return { fd, transparent: transparent && config.originalSource !== false, kept };
  };
  try {
    // All at once: pods come one after the other, and clients may be waiting in the queue of the last one.
    const [outbound, plaintext, hbone, dns] = await Promise.all([
      open('outbound'),
      open('plaintext'),
      open('hbone'),
      agent === undefined ? [] : requestDns(config, (name) => keep(agent.request(uid, name))),
    ]);
    const socks5 = config.socks5 ? bindSocks5(netns, config) : undefined;
    return { outbound, plaintext, hbone, dns, socks5 };
  } catch (error) {
    // What still comes is closed as well.
    for (const came of await Promise.allSettled(asked))
      if (came.status === 'fulfilled') closeSync(came.value.fd);
    throw error;
  }
}

export function closePodSockets({ outbound, plaintext, hbone, socks5, dns }: PodSockets): void {
  for (const { fd } of [outbound, plaintext, hbone, ...(socks5 ? [socks5] : [])]) closeSync(fd);
  for (const { udpFd, tcpFd } of dns) for (const fd of [udpFd, tcpFd]) closeSync(fd);
}

/**
 * Copies for one data thread, which closes them itself.
 *
 * @param options `dns`: whether it is the thread that answers names.
 */
export function copyPodSockets(
  { outbound, plaintext, hbone, socks5, dns }: PodSockets,
  options: Readonly<{ dns: boolean }>,
): PodSockets {
  const copy = (listener: HandedListener): HandedListener => ({
    ...listener,
    fd: duplicate(listener.fd),
  });
  return {
    ...{ outbound: copy(outbound), plaintext: copy(plaintext), hbone: copy(hbone) },
    socks5: socks5 && copy(socks5),
    dns: options.dns
      ? dns.map(({ ip, udpFd, tcpFd }) => ({
          ...{ ip, udpFd: duplicate(udpFd), tcpFd: duplicate(tcpFd) },
        }))
      : [],
  };
}

/** What the node agent keeps of them, under its names. */
export function keptPodSockets(sockets: PodSockets): [PodSocketName, PodListener][] {
  const { outbound, plaintext, hbone, dns } = sockets;
  const kept: [PodSocketName, PodListener][] = [
    ['outbound', outbound],
    ['plaintext', plaintext],
    ['hbone', hbone],
  ];
  for (const { ip, udpFd, tcpFd } of dns)
    for (const [transport, fd] of [
      ['udp', udpFd],
      ['tcp', tcpFd],
    ] as const) {
      const name = findPodSocket({ port: DNS_PORT, transport, ip });
      if (name !== undefined) kept.push([name, { fd, transparent: false }]);
    }
  return kept;
}

/** On each address that the pod has and the agent keeps sockets for. */
async function requestDns(
  { dnsCapture, dnsProxyAddress }: ZtunnelConfig,
  request: (name: PodSocketName) => Promise<PodListener>,
): Promise<HandedDns[]> {
  const { ips, port } = dnsProxyAddress;
  const open = async (transport: 'tcp' | 'udp', ip: IpAddress): Promise<number | undefined> => {
    const name = findPodSocket({ port, transport, ip });
    if (name === undefined) return undefined;
    try {
      return (await request(name)).fd;
    } catch (error) {
      if (isAbsentAddress(error)) return undefined;
      throw error;
    }
  };
  const asked = (dnsCapture ? ips : []).map(async (ip): Promise<HandedDns[]> => {
    const [udpFd, tcpFd] = await Promise.all([open('udp', ip), open('tcp', ip)]);
    return udpFd === undefined || tcpFd === undefined ? [] : [{ ip, udpFd, tcpFd }];
  });
  return (await Promise.all(asked)).flat();
}

/** Always ours: a node agent knows nothing of it. Nobody but the pod itself may speak in its name. */
function bindSocks5(netns: Netns | undefined, config: ZtunnelConfig): HandedListener {
  const listener = bindListener({
    address: { ip: parseIpAddress('127.0.0.1'), port: SOCKS5_PORT },
    ...podSocketOptions(config, { netns }),
    reusePort: config.portReuse,
  });
  return { ...listener, kept: false };
}

function bindInPod(netns: Netns | undefined, port: number, config: ZtunnelConfig): BoundListener {
  return bindListener({
    address: { ip: parseIpAddress(config.ipv6 ? '::' : '0.0.0.0'), port },
    ...podSocketOptions(config, { netns }),
    ...(config.originalSource !== false && { transparent: 'best-effort' }),
    reusePort: config.portReuse,
  });
}
