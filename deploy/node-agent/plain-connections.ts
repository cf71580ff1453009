import { readFileSync } from 'node:fs';
import { errorCode } from '../../base/errors.ts';
import { inNetns, type Netns } from '../../net/netns.ts';
import {
  CONNECTED,
  destroyTcpSockets,
  ESTABLISHED,
  LISTENING,
  listTcpSockets,
  type TcpSocket,
} from '../../net/netlink/tcp-sockets.ts';
import { isProxyPort } from './rules.ts';

/** Enough to know a connection again. */
export type ConnectionKey = string;

/** The TCP connections that are open in a namespace and leave it. @throws {MeshError} the kernel's error. */
export function listConnections(netns: Netns): ReadonlySet<ConnectionKey> {
  const sockets = inNetns(netns, () => listConnected(ESTABLISHED));
  return new Set(sockets.filter(({ isToLoopback }) => !isToLoopback).map(({ key }) => key));
}

/** Whether connections of a namespace still go through the proxy. @throws {MeshError} the kernel's error. */
export function hasCapturedConnections(netns: Netns): boolean {
  const sockets = inNetns(netns, () => listConnected(CONNECTED));
  return sockets.some(({ localPort }) => isProxyPort(localPort));
}

/** Whether a namespace has TCP sockets that are connected or listen: the kernel's count, which is cheaper than a list. */
export function hasTcpSockets(netns: Netns): boolean {
  return inNetns(netns, () => countTcpSockets() > 0);
}

/** Ends connections with a reset; where the kernel cannot, they stay, and so do those that have ended meanwhile. */
export function resetConnections(netns: Netns, keys: Iterable<ConnectionKey>): void {
  inNetns(netns, () => {
    destroyTcpSockets(keys);
  });
}

/** Ends all TCP connections of a namespace with a reset; where the kernel cannot, they stay. */
export function resetAll(netns: Netns): void {
  const sockets = inNetns(netns, () => listConnected(CONNECTED));
  resetConnections(
    netns,
    sockets.map(({ key }) => key),
  );
}

/** As listTcpSockets(), where there are any: what listens alone is counted away at little cost. */
function listConnected(states: number): TcpSocket[] {
  return countTcpSockets() > listTcpSockets(LISTENING).length ? listTcpSockets(states) : [];
}

/** Of both families, connected or listening; not those that wait out their time. */
function countTcpSockets(): number {
  let count = 0;
  for (const name of ['sockstat', 'sockstat6'])
    count += Number(
      /^TCP6?: inuse (\d+)/m.exec(readIfThere(`/proc/thread-self/net/${name}`))?.[1] ?? 0,
    );
  return count;
}

/** A kernel without IPv6 has no file for it. */
function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return '';
    throw error;
  }
}
