import { familyOf, ipToBytes, type SocketAddress } from '../../base/address.ts';
import { HEADROOM, type SharedBytes } from '../../net/byte-stream.ts';
import { allocateShared } from '../../net/shared-bytes.ts';
import type { ProxyHeader } from './admission.ts';

/** PROXY protocol version 2, section 2.2 of its specification. */
const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
const VERSION_AND_COMMAND_PROXY = 0x21;
const TCP_OVER_IPV4 = 0x11;
const TCP_OVER_IPV6 = 0x21;
/** Istio's: the source's identity, as text. */
const TLV_IDENTITY = 0xd0;

/** The header that tells a waypoint behind this proxy who asked, and for what; ready to be written to a stream. */
export function makeProxyHeader(
  source: SocketAddress,
  header: ProxyHeader,
): Readonly<{ bytes: SharedBytes; length: number }> {
  const { destination } = header;
  const ipv6 = familyOf(source.ip) === 6 || familyOf(destination.ip) === 6;
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(source.port, 0);
  ports.writeUInt16BE(destination.port, 2);
  const identity = Buffer.from(header.sourceIdentity);
  const tlv = Buffer.alloc(3);
  tlv.writeUInt8(TLV_IDENTITY, 0);
  tlv.writeUInt16BE(identity.length, 1);
  const rest = [addressBytes(source, ipv6), addressBytes(destination, ipv6), ports, tlv, identity];
  const restLength = rest.reduce((sum, part) => sum + part.length, 0);
  const head = Buffer.alloc(4);
  head.writeUInt8(VERSION_AND_COMMAND_PROXY, 0);
  head.writeUInt8(ipv6 ? TCP_OVER_IPV6 : TCP_OVER_IPV4, 1);
  head.writeUInt16BE(restLength, 2);
  const all = Buffer.concat([SIGNATURE, head, ...rest]);
  const bytes = allocateShared(HEADROOM + all.length);
  bytes.buffer.set(all, HEADROOM);
  return { bytes, length: all.length };
}

/** In a header of IPv6 an IPv4 address is mapped. */
function addressBytes({ ip }: SocketAddress, ipv6: boolean): Buffer {
  const bytes = ipToBytes(ip);
  if (!ipv6 || bytes.length === 16) return Buffer.from(bytes);
  return Buffer.concat([Buffer.from('00000000000000000000ffff', 'hex'), bytes]);
}
