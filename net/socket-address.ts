import type { SocketAddress } from '../base/address.ts';
import { MeshError } from '../base/errors.ts';
import { systemError } from './native/errno.ts';
import { getOption, peerName, socketName } from './native/libc.ts';
import { allocateShared } from './native/memory.ts';
import { allocateSockaddr, readSockaddr } from './native/sockaddr.ts';

const name = allocateSockaddr();
const nameLength = allocateShared(4);

/** SO_ORIGINAL_DST of netfilter; the same number at the level of each family. */
const SOL_IP = 0;
const SOL_IPV6 = 41;
const SO_ORIGINAL_DST = 80;

/** @throws {MeshError} when the descriptor is no bound socket. */
export function socketLocal(fd: number): SocketAddress {
  const result = socketName(fd, name, nameLength);
  return readOr(result, 'read the local address of a socket');
}

/** @throws {MeshError} ERR_SYSTEM_ENOTCONN when it is not connected (any more). */
export function socketPeer(fd: number): SocketAddress {
  const result = peerName(fd, name, nameLength);
  return readOr(result, "read the peer's address of a socket");
}

/** Where a redirected connection was going; a connection that was not redirected went to its own local address. */
export function originalDestination(fd: number): SocketAddress {
  // A dual-stack listener's IPv4 connections answer at the IPv4 level only, so that is asked first.
  if (getOption(fd, SOL_IP, SO_ORIGINAL_DST, name, nameLength) >= 0) return readOr(0, '');
  if (getOption(fd, SOL_IPV6, SO_ORIGINAL_DST, name, nameLength) >= 0) return readOr(0, '');
  return socketLocal(fd);
}

/** Whether a socket could not be made because its namespace has no such address: IPv6 is switched off there. */
export function isAbsentAddress(error: unknown): boolean {
  return (
    error instanceof MeshError &&
    ['ERR_SYSTEM_EADDRNOTAVAIL', 'ERR_SYSTEM_EAFNOSUPPORT'].includes(error.code)
  );
}

function readOr(result: number, action: string): SocketAddress {
  const address = result < 0 ? undefined : readSockaddr(name);
  if (address === undefined) throw systemError(-result, action);
  return address;
}
