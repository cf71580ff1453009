import { ipFromBytes, ipToBytes, type IpAddress, type SocketAddress } from '../../base/address.ts';
import { AF_INET, AF_INET6 } from './libc.ts';
import { allocateShared, type SharedBytes } from './memory.ts';

/** struct sockaddr_in and sockaddr_in6; port and address in network order. */
const SOCKADDR_IN_BYTES = 16;
const SOCKADDR_IN6_BYTES = 28;

/** Room for either kind of address, and for the length that calls write beside it. */
export function allocateSockaddr(): SharedBytes {
  return allocateShared(SOCKADDR_IN6_BYTES);
}

/**
 * Writes an address for a socket of a family: an IPv4 address goes into an IPv6 socket as `::ffff:a.b.c.d`.
 *
 * @returns its length in bytes.
 */
export function writeSockaddr(
  into: SharedBytes,
  address: Readonly<{ ip: IpAddress; port: number }>,
  family: number,
): number {
  const { buffer } = into;
  const ip = ipToBytes(address.ip);
  buffer.fill(0);
  buffer.writeUInt16LE(family, 0);
  buffer.writeUInt16BE(address.port, 2);
  if (family === AF_INET) {
    if (ip.length !== 4) throw new RangeError(`Cannot use ${address.ip} with an IPv4 socket`);
    buffer.set(ip, 4);
    return SOCKADDR_IN_BYTES;
  }
  if (ip.length === 4) {
    buffer.fill(0xff, 18, 20);
    buffer.set(ip, 20);
  } else buffer.set(ip, 8);
  return SOCKADDR_IN6_BYTES;
}

/** Reads an address that the kernel wrote; mapped IPv4 comes out as IPv4. `undefined` for other families. */
export function readSockaddr(from: SharedBytes): SocketAddress | undefined {
  const { buffer } = from;
  const family = buffer.readUInt16LE(0);
  const port = buffer.readUInt16BE(2);
  if (family === AF_INET) return { ip: ipFromBytes(buffer.subarray(4, 8)), port };
  if (family === AF_INET6) return { ip: ipFromBytes(buffer.subarray(8, 24)), port };
  return undefined;
}
