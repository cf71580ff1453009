import { ipFromBytes, type IpAddress } from '../../base/address.ts';

/** One TCP segment as it was on the wire. */
export type Segment = Readonly<{
  source: Readonly<{ ip: IpAddress; port: number }>;
  destination: Readonly<{ ip: IpAddress; port: number }>;
  sequence: number;
  payload: Buffer;
}>;

const ETHERNET_BYTES = 14;
/** RFC 894, RFC 2464. */
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
const PROTOCOL_TCP = 6;
const IPV6_HEADER_BYTES = 40;

/** Reads an Ethernet frame; `undefined` for what is no TCP, is a fragment, or is cut short. */
export function parseSegment(frame: Buffer): Segment | undefined {
  if (frame.length < ETHERNET_BYTES) return undefined;
  const packet = frame.subarray(ETHERNET_BYTES);
  switch (frame.readUInt16BE(12)) {
    case ETHERTYPE_IPV4:
      return parseIpv4(packet);
    case ETHERTYPE_IPV6:
      return parseIpv6(packet);
    default:
      return undefined;
  }
}

function parseIpv4(packet: Buffer): Segment | undefined {
  if (packet.length < 20 || packet[9] !== PROTOCOL_TCP) return undefined;
  const headerBytes = ((packet[0] ?? 0) & 0x0f) * 4;
  const totalBytes = packet.readUInt16BE(2);
  const fragment = (packet.readUInt16BE(6) & 0x3fff) !== 0;
  if (fragment || totalBytes > packet.length || totalBytes < headerBytes) return undefined;
  const addresses = [packet.subarray(12, 16), packet.subarray(16, 20)] as const;
  return parseTcp(packet.subarray(headerBytes, totalBytes), addresses);
}

function parseIpv6(packet: Buffer): Segment | undefined {
  if (packet.length < IPV6_HEADER_BYTES || packet[6] !== PROTOCOL_TCP) return undefined;
  const end = IPV6_HEADER_BYTES + packet.readUInt16BE(4);
  if (end > packet.length) return undefined;
  const addresses = [packet.subarray(8, 24), packet.subarray(24, 40)] as const;
  return parseTcp(packet.subarray(IPV6_HEADER_BYTES, end), addresses);
}

function parseTcp(bytes: Buffer, [from, to]: readonly [Buffer, Buffer]): Segment | undefined {
  if (bytes.length < 20) return undefined;
  const headerBytes = ((bytes[12] ?? 0) >> 4) * 4;
  if (headerBytes < 20 || headerBytes > bytes.length) return undefined;
  return {
    source: { ip: ipFromBytes(from), port: bytes.readUInt16BE(0) },
    destination: { ip: ipFromBytes(to), port: bytes.readUInt16BE(2) },
    sequence: bytes.readUInt32BE(4),
    payload: bytes.subarray(headerBytes),
  };
}

/** The bytes of each direction of each connection, in order; a frame seen twice (on two ports) counts once. */
export function joinStreams(segments: readonly Segment[]): Buffer[] {
  const streams = new Map<string, Segment[]>();
  for (const segment of segments) {
    if (segment.payload.length === 0) continue;
    const { source, destination } = segment;
    const key = `${source.ip} ${source.port} ${destination.ip} ${destination.port}`;
    const known = streams.get(key);
    if (known === undefined) streams.set(key, [segment]);
    else known.push(segment);
  }
  return [...streams.values()].map(joinSegments);
}

function joinSegments(segments: readonly Segment[]): Buffer {
  const start = segments[0]?.sequence ?? 0;
  // Sequence numbers wrap at 2^32: their distance from the first one does not, as a signed number.
  const offset = (segment: Segment): number => (segment.sequence - start) | 0;
  const sorted = [...segments].sort((a, b) => offset(a) - offset(b));
  const parts: Buffer[] = [];
  let next = sorted[0] === undefined ? 0 : offset(sorted[0]);
  for (const segment of sorted) {
    const skip = next - offset(segment);
    if (skip < 0 || skip >= segment.payload.length) continue;
    parts.push(segment.payload.subarray(skip));
    next = offset(segment) + segment.payload.length;
  }
  return Buffer.concat(parts);
}

/** RFC 8446 section 5.1: change_cipher_spec, alert, handshake, application_data. */
const TLS_TYPES = new Set([20, 21, 22, 23]);
const MAX_TLS_RECORD_BYTES = (1 << 14) + 256;

/** How many TLS records a stream consists of, the last one maybe cut; `undefined` when it is not TLS throughout. */
export function countTlsRecords(stream: Buffer): number | undefined {
  let count = 0;
  for (let at = 0; at < stream.length; count++) {
    if (stream.length - at < 5) return count;
    const length = stream.readUInt16BE(at + 3);
    const known = TLS_TYPES.has(stream[at] ?? 0) && stream[at + 1] === 3;
    if (!known || length > MAX_TLS_RECORD_BYTES) return undefined;
    at += 5 + length;
  }
  return count;
}
