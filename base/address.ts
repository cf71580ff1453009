import { isIP, isIPv4 } from 'node:net';
import type { Brand } from './brand.ts';
import { MeshError } from './errors.ts';

/**
 * An IP address in canonical text: dotted IPv4, or RFC 5952 IPv6 without a zone.
 * `::ffff:a.b.c.d` forms are unmapped to IPv4 here, once, so equal addresses are equal strings.
 */
export type IpAddress = Brand<string, 'IpAddress'>;

export type AddressFamily = 4 | 6;

export type SocketAddress = Readonly<{ ip: IpAddress; port: number }>;

const DOT = 0x2e;
const DIGIT_ZERO = 0x30;

/** A network in canonical form: host bits are zero. */
export type Cidr = Readonly<{ ip: IpAddress; prefix: number }>;

/**
 * Parses an IP address as `node:net` judges it; a hand-made check would admit `1e1.1.1.1`.
 *
 * @throws {MeshError} ERR_ADDRESS for anything else, a zone included.
 */
export function parseIpAddress(text: string): IpAddress {
  const ip = tryParseIpAddress(text);
  if (ip === undefined) throw addressError('IP address', text);
  return ip;
}

/** As parseIpAddress(), with `undefined` where that throws. */
export function tryParseIpAddress(text: string): IpAddress | undefined {
  const family = isIP(text);
  if (family === 4) return text as IpAddress;
  if (family === 0 || text.includes('%')) return undefined;
  return ipFromBytes(ipv6ToBytes(text));
}

export function familyOf(ip: IpAddress): AddressFamily {
  return ip.includes(':') ? 6 : 4;
}

/**
 * Reads 4 or 16 bytes in network order.
 *
 * @throws {MeshError} ERR_ADDRESS for any other length.
 */
export function ipFromBytes(bytes: Uint8Array): IpAddress {
  if (bytes.length === 4) return ipv4FromBytes(bytes, 0);
  if (bytes.length !== 16) throw addressError('IP address of bytes', String(bytes.length));
  if (isMapped(bytes)) return ipv4FromBytes(bytes, 12);
  const groups: number[] = [];
  for (let at = 0; at < 16; at += 2) groups.push(((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0));
  return formatIpv6Groups(groups);
}

function ipv4FromBytes(bytes: Uint8Array, at: number): IpAddress {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}` as IpAddress;
}

/** `::ffff:a.b.c.d` */
function isMapped(bytes: Uint8Array): boolean {
  for (let at = 0; at < 10; at++) if (bytes[at] !== 0) return false;
  return bytes[10] === 0xff && bytes[11] === 0xff;
}

/** The 4 or 16 bytes of an address in network order. */
export function ipToBytes(ip: IpAddress): Uint8Array {
  return familyOf(ip) === 4 ? ipv4ToBytes(ip) : ipv6ToBytes(ip);
}

function ipv6ToBytes(ip: string): Uint8Array {
  const bytes = new Uint8Array(16);
  parseIpv6Groups(ip).forEach((group, index) => {
    bytes[index * 2] = group >> 8;
    bytes[index * 2 + 1] = group & 0xff;
  });
  return bytes;
}

function ipv4ToBytes(ip: IpAddress): Uint8Array {
  const bytes = new Uint8Array(4);
  let part = 0;
  let value = 0;
  for (let at = 0; at < ip.length; at++) {
    const code = ip.charCodeAt(at);
    if (code === DOT) {
      bytes[part++] = value;
      value = 0;
    } else value = value * 10 + (code - DIGIT_ZERO);
  }
  bytes[part] = value;
  return bytes;
}

/** `127.0.0.0/8` and `::1`. */
export function isLoopback(ip: IpAddress): boolean {
  return ip === '::1' || (familyOf(ip) === 4 && ip.startsWith('127.'));
}

export function socketAddress(ip: string, port: number): SocketAddress {
  return { ip: parseIpAddress(ip), port: checkPort(port) };
}

/** `10.0.0.1:80` or `[fd00::1]:80`. */
export function formatSocketAddress(address: SocketAddress): string {
  return familyOf(address.ip) === 4
    ? `${address.ip}:${address.port}`
    : `[${address.ip}]:${address.port}`;
}

/**
 * Parses `10.0.0.1:80` or `[fd00::1]:80`.
 *
 * @throws {MeshError} ERR_ADDRESS for a host name, a missing or empty port, port 0 or above 65535, a port with leading
 *   zeros, userinfo, a zone.
 */
export function parseSocketAddress(text: string): SocketAddress {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):([1-9]\d{0,4})$/.exec(text);
  const [, v6, v4, port] = match ?? [];
  const ip = tryParseIpAddress(v6 ?? v4 ?? '');
  if (ip === undefined || port === undefined) throw addressError('socket address', text);
  // Brackets are for IPv6 alone; a mapped address in brackets is IPv4 after unmapping, which is fine.
  if (v4 !== undefined && !isIPv4(v4)) throw addressError('socket address', text);
  if (v6 !== undefined && isIPv4(v6)) throw addressError('socket address', text);
  return { ip, port: checkPort(Number(port)) };
}

/** @throws {MeshError} ERR_ADDRESS unless 1 to 65535. */
export function checkPort(port: number): number {
  if (!Number.isInteger(port) || port < 1 || port > 65535) throw addressError('port', String(port));
  return port;
}

/**
 * Parses `10.0.0.0/8`, or an address without a mask (full length); host bits are cleared.
 * `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
 *
 * @throws {MeshError} ERR_ADDRESS for anything else, and for a mapped network wider than IPv4.
 */
export function parseCidr(text: string): Cidr {
  const slash = text.indexOf('/');
  const ip = tryParseIpAddress(slash < 0 ? text : text.slice(0, slash));
  const suffix = slash < 0 ? undefined : text.slice(slash + 1);
  if (ip === undefined || (suffix !== undefined && !/^\d{1,3}$/.test(suffix)))
    throw addressError('CIDR', text);
  const writtenWidth = text.includes(':') ? 128 : 32;
  const written = suffix === undefined ? writtenWidth : Number(suffix);
  const prefix = written - (writtenWidth - widthOf(ip));
  if (prefix < 0 || written > writtenWidth) throw addressError('CIDR', text);
  return makeCidr(ip, prefix);
}

/** The network of that prefix length which holds `ip`. */
export function makeCidr(ip: IpAddress, prefix: number): Cidr {
  const bytes = ipToBytes(ip);
  if (!Number.isInteger(prefix) || prefix < 0 || prefix > bytes.length * 8)
    throw addressError('CIDR', `${ip}/${prefix}`);
  for (let index = 0; index < bytes.length; index++) {
    const bits = Math.min(8, Math.max(0, prefix - index * 8));
    bytes[index] = (bytes[index] ?? 0) & (0xff00 >> bits) & 0xff;
  }
  return { ip: ipFromBytes(bytes), prefix };
}

export function formatCidr(cidr: Cidr): string {
  return `${cidr.ip}/${cidr.prefix}`;
}

/** False for an address of the other family. */
export function cidrContains(cidr: Cidr, ip: IpAddress): boolean {
  if (familyOf(cidr.ip) !== familyOf(ip)) return false;
  const network = ipToBytes(cidr.ip);
  const bytes = ipToBytes(ip);
  for (let index = 0; index * 8 < cidr.prefix; index++) {
    const mask = (0xff00 >> Math.min(8, cidr.prefix - index * 8)) & 0xff;
    if (((bytes[index] ?? 0) & mask) !== ((network[index] ?? 0) & mask)) return false;
  }
  return true;
}

function widthOf(ip: IpAddress): number {
  return familyOf(ip) === 4 ? 32 : 128;
}

function addressError(what: string, text: string): MeshError {
  return new MeshError(
    'ERR_ADDRESS',
    'local',
    `Cannot parse ${what}: found ${JSON.stringify(text.slice(0, 64))}`,
  );
}

/** The eight groups of a text that `isIP` has accepted. */
function parseIpv6Groups(text: string): number[] {
  let rest = text;
  const tail: number[] = [];
  const lastColon = text.lastIndexOf(':');
  if (text.includes('.')) {
    const bytes = text.slice(lastColon + 1).split('.');
    tail.push(
      (Number(bytes[0]) << 8) | Number(bytes[1]),
      (Number(bytes[2]) << 8) | Number(bytes[3]),
    );
    rest = text.slice(0, lastColon);
    if (rest.endsWith(':')) rest += ':';
  }
  const [head = '', behind] = rest.split('::');
  const parse = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
  const left = parse(head);
  const right = [...parse((behind ?? '').replace(/:$/, '')), ...tail];
  const missing = 8 - left.length - right.length;
  return [...left, ...Array.from({ length: missing }, () => 0), ...right];
}

function formatIpv6Groups(groups: readonly number[]): IpAddress {
  // RFC 5952 section 4.2: the longest run of two zero groups or more is "::", the first of equals.
  let start = -1;
  let length = 1;
  for (let at = 0; at < 8; at++) {
    let end = at;
    while (end < 8 && groups[end] === 0) end++;
    if (end - at > length) [start, length] = [at, end - at];
    if (end > at) at = end;
  }
  const hex = groups.map((group) => group.toString(16));
  if (start < 0) return hex.join(':') as IpAddress;
  return `${hex.slice(0, start).join(':')}::${hex.slice(start + length).join(':')}` as IpAddress;
}
