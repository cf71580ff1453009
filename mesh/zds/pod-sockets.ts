import { parseIpAddress, type IpAddress } from '../../base/address.ts';
import { DNS_PORT, HBONE_PORT, INBOUND_PLAINTEXT_PORT, OUTBOUND_PORT } from '../model/ports.ts';

/** The sockets in a pod's namespace that the node agent makes and keeps, and the proxy serves. */
export type PodSocketName =
  | 'outbound'
  | 'plaintext'
  | 'hbone'
  | 'dns-udp4'
  | 'dns-tcp4'
  | 'dns-udp6'
  | 'dns-tcp6';

export type PodSocketPlace = Readonly<{
  port: number;
  transport: 'tcp' | 'udp';
  /** The one address that it is bound to; absent: all of both families. */
  ip?: IpAddress;
}>;

const LOOPBACK = { 4: parseIpAddress('127.0.0.1'), 6: parseIpAddress('::1') } as const;

export const POD_SOCKETS: ReadonlyMap<PodSocketName, PodSocketPlace> = new Map<
  PodSocketName,
  PodSocketPlace
>([
  ['outbound', { port: OUTBOUND_PORT, transport: 'tcp' }],
  ['plaintext', { port: INBOUND_PLAINTEXT_PORT, transport: 'tcp' }],
  ['hbone', { port: HBONE_PORT, transport: 'tcp' }],
  ['dns-udp4', { port: DNS_PORT, transport: 'udp', ip: LOOPBACK[4] }],
  ['dns-tcp4', { port: DNS_PORT, transport: 'tcp', ip: LOOPBACK[4] }],
  ['dns-udp6', { port: DNS_PORT, transport: 'udp', ip: LOOPBACK[6] }],
  ['dns-tcp6', { port: DNS_PORT, transport: 'tcp', ip: LOOPBACK[6] }],
]);

/** @returns undefined when the node agent keeps no such socket. */
export function findPodSocket(place: Required<PodSocketPlace>): PodSocketName | undefined {
  for (const [name, { port, transport, ip }] of POD_SOCKETS)
    if (port === place.port && transport === place.transport && ip === place.ip) return name;
  return undefined;
}

export function isPodSocketName(name: unknown): name is PodSocketName {
  return POD_SOCKETS.has(name as PodSocketName);
}
