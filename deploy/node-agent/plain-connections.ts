import type { Netns } from '../../net/netns.ts';
import { inNetns } from '../../net/netns.ts';
import {
  CONNECTED,
  destroyTcpSocket,
  ESTABLISHED,
  IN_USE,
  listTcpSockets,
} from '../../net/netlink/tcp-sockets.ts';
import { isProxyPort } from './rules.ts';

/** Enough to know a connection again. */
export type ConnectionKey = string;

/** The TCP connections that are open in a namespace and leave it. @throws {MeshError} the kernel's error. */
export function listConnections(netns: Netns): ReadonlySet<ConnectionKey> {
  const sockets = inNetns(netns, () => listTcpSockets(ESTABLISHED));
  return new Set(sockets.filter(({ isToLoopback }) => !isToLoopback).map(({ key }) => key));
}

/** Whether connections of a namespace still go through the proxy. @throws {MeshError} the kernel's error. */
export function hasCapturedConnections(netns: Netns): boolean {
  const sockets = inNetns(netns, () => listTcpSockets(CONNECTED));
  return sockets.some(({ localPort }) => isProxyPort(localPort));
}

/** Whether a namespace has TCP sockets that are connected or listen. @throws {MeshError} the kernel's error. */
export function hasTcpSockets(netns: Netns): boolean {
  return inNetns(netns, () => listTcpSockets(IN_USE)).length > 0;
}

/** Ends connections with a reset; where the kernel cannot, they stay, and so do those that have ended meanwhile. */
export function resetConnections(netns: Netns, keys: Iterable<ConnectionKey>): void {
  inNetns(netns, () => {
    for (const key of keys)
      try {
        destroyTcpSocket({ key });
      } catch {
        // One less, or one that its owner has to end.
      }
  });
}

/** Ends all TCP connections of a namespace with a reset; where the kernel cannot, they stay. */
export function resetAll(netns: Netns): void {
  const sockets = inNetns(netns, () => listTcpSockets(CONNECTED));
  resetConnections(
    netns,
    sockets.map(({ key }) => key),
  );
}
