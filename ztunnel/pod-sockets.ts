import { closeSync } from 'node:fs';
import { parseIpAddress } from '../base/address.ts';
import { MeshError } from '../base/errors.ts';
import {
  HBONE_PORT,
  INBOUND_PLAINTEXT_PORT,
  OUTBOUND_PORT,
  SOCKS5_PORT,
} from '../mesh/model/ports.ts';
import type { ListenerClient } from '../mesh/zds/listeners.ts';
import { duplicate } from '../net/descriptor.ts';
import type { Netns } from '../net/netns.ts';
import { bindListener, type BoundListener } from '../net/tcp.ts';
import type { ZtunnelConfig } from './config.ts';
import { podSocketOptions } from './pod-socket-options.ts';
import type { HandedListener } from './thread-calls.ts';

/** The listening sockets of a pod, as the control thread holds them. */
export type PodSockets = Readonly<{
  outbound: HandedListener;
  plaintext: HandedListener;
  hbone: HandedListener;
  socks5: HandedListener | undefined;
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
  const opened: number[] = [];
  const open = async (port: number): Promise<HandedListener> => {
    const listener =
      agent === undefined ? bindInPod(netns, port, config) : await agent.request(uid, port);
    opened.push(listener.fd);
    if (config.originalSource === true && !listener.transparent)
      throw new MeshError(
        'ERR_TRANSPARENT',
        'local',
        `Cannot keep client addresses on port ${port} of pod ${uid}: ENABLE_ORIG_SRC asks for it, and the kernel refuses`,
      );
    const transparent = listener.transparent && config.originalSource !== false;
    return { fd: listener.fd, transparent, kept: agent !== undefined };
  };
  try {
    return {
      outbound: await open(OUTBOUND_PORT),
      plaintext: await open(INBOUND_PLAINTEXT_PORT),
      hbone: await open(HBONE_PORT),
      socks5: config.socks5 ? bindSocks5(netns, config) : undefined,
    };
  } catch (error) {
    for (const fd of opened) closeSync(fd);
    throw error;
  }
}

export function closePodSockets({ outbound, plaintext, hbone, socks5 }: PodSockets): void {
  for (const { fd } of [outbound, plaintext, hbone, ...(socks5 ? [socks5] : [])]) closeSync(fd);
}

/** Copies for one data thread, which closes them itself. */
export function copyPodSockets({ outbound, plaintext, hbone, socks5 }: PodSockets): PodSockets {
  const copy = (listener: HandedListener): HandedListener => ({
    ...listener,
    fd: duplicate(listener.fd),
  });
  return {
    ...{ outbound: copy(outbound), plaintext: copy(plaintext), hbone: copy(hbone) },
    socks5: socks5 && copy(socks5),
  };
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
