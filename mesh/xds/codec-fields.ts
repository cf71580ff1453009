import {
  familyOf,
  ipFromBytes,
  ipToBytes,
  makeCidr,
  type Cidr,
  type IpAddress,
} from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import type { PolicyKey } from '../model/authorization.ts';
import type { GatewayAddress } from '../model/gateway-address.ts';
import type { NetworkAddress, PortMapping, ServiceKey } from '../model/service.ts';
import {
  AppProtocol as AppProtocols,
  type GatewayAddress as GatewayAddressMessage,
  type NetworkAddress as NetworkAddressMessage,
  type Port as PortMessage,
} from '../proto/gen/workload.ts';

/** A resource that cannot be used: it is rejected with this reason, never used in part. */
export function resourceError(message: string, cause?: unknown): MeshError {
  const options = cause === undefined ? undefined : { cause };
  return new MeshError('ERR_XDS_RESOURCE', 'upstream', message, options);
}

/**
 * The name of an enum's value.
 *
 * @throws {MeshError} ERR_XDS_RESOURCE for a value that is not in the table: what it asks for is not known here.
 */
export function decodeEnum<T extends Readonly<Record<string, number>>>(
  table: T,
  value: number,
  field: string,
): Exclude<keyof T & string, 'UNRECOGNIZED'> {
  for (const [name, number] of Object.entries(table))
    if (number === value && isValueName(table, name)) return name;
  throw resourceError(`unknown value ${value} of ${field}`);
}

function isValueName<T extends object>(
  table: T,
  name: string,
): name is Exclude<keyof T & string, 'UNRECOGNIZED'> {
  return name in table && name !== 'UNRECOGNIZED';
}

/** @throws {MeshError} ERR_XDS_RESOURCE unless 4 or 16 bytes. */
export function decodeIp(bytes: Uint8Array, field: string): IpAddress {
  try {
    return ipFromBytes(bytes);
  } catch (cause) {
    throw resourceError(`bad address in ${field}`, cause);
  }
}

/** @throws {MeshError} ERR_XDS_RESOURCE for a bad address or too long a prefix. */
export function decodeCidr(bytes: Uint8Array, prefix: number, field: string): Cidr {
  const ip = decodeIp(bytes, field);
  try {
    // A mapped address (::ffff:a.b.c.d/96+n) counts its prefix from the IPv6 form.
    const mapped = bytes.length === 16 && familyOf(ip) === 4;
    return makeCidr(ip, mapped ? prefix - 96 : prefix);
  } catch (cause) {
    throw resourceError(`bad prefix length ${prefix} in ${field}`, cause);
  }
}

/** @throws {MeshError} ERR_XDS_RESOURCE above 65535, or for 0 unless it has a meaning. */
export function decodePort(port: number, field: string, options: { zero: boolean }): number {
  if (port > 65535 || (port === 0 && !options.zero))
    throw resourceError(`bad port ${port} in ${field}`);
  return port;
}

export function encodeBytes(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function decodePorts(ports: readonly PortMessage[], field: string): PortMapping[] {
  return ports.map((port) => ({
    servicePort: decodePort(port.servicePort, `${field}.service_port`, { zero: false }),
    targetPort: decodePort(port.targetPort, `${field}.target_port`, { zero: true }),
    appProtocol: decodeEnum(AppProtocols, port.appProtocol, `${field}.app_protocol`),
  }));
}

export function encodePorts(ports: readonly PortMapping[]): PortMessage[] {
  return ports.map((port) => ({ ...port, appProtocol: AppProtocols[port.appProtocol] }));
}

export function decodeNetworkAddress(
  address: NetworkAddressMessage,
  field: string,
): NetworkAddress {
  const ip = decodeIp(address.address, field);
  const { network, length } = address;
  if (length === undefined || length === address.address.length * 8) return { network, ip };
  const cidr = decodeCidr(address.address, length, field);
  return { network, ip: cidr.ip, prefix: cidr.prefix };
}

export function encodeNetworkAddress(address: NetworkAddress): NetworkAddressMessage {
  const bytes = encodeBytes(ipToBytes(address.ip));
  return { network: address.network, address: bytes, length: address.prefix };
}

/** `undefined` stays so; a gateway without destination is refused, for traffic would go past it. */
export function decodeGateway(
  gateway: GatewayAddressMessage | undefined,
  field: string,
): GatewayAddress | undefined {
  if (gateway === undefined) return undefined;
  const hboneMtlsPort = decodePort(gateway.hboneMtlsPort, `${field}.hbone_mtls_port`, {
    zero: false,
  });
  const { destination } = gateway;
  switch (destination?.$case) {
    case 'hostname':
      if (destination.value.hostname === '') throw resourceError(`no host name in ${field}`);
      return { destination: { kind: 'hostname', ...destination.value }, hboneMtlsPort };
    case 'address': {
      const { network, ip, prefix } = decodeNetworkAddress(destination.value, field);
      if (prefix !== undefined) throw resourceError(`a network instead of an address in ${field}`);
      return { destination: { kind: 'address', network, ip }, hboneMtlsPort };
    }
    case undefined:
      throw resourceError(`no destination in ${field}`);
  }
}

export function encodeGateway(
  gateway: GatewayAddress | undefined,
): GatewayAddressMessage | undefined {
  if (gateway === undefined) return undefined;
  const { destination, hboneMtlsPort } = gateway;
  if (destination.kind === 'hostname') {
    const { namespace, hostname } = destination;
    return { destination: { $case: 'hostname', value: { namespace, hostname } }, hboneMtlsPort };
  }
  const value = encodeNetworkAddress(destination);
  return { destination: { $case: 'address', value }, hboneMtlsPort };
}

/** @throws {MeshError} ERR_XDS_RESOURCE unless `<namespace>/<hostname>`. */
export function decodeServiceKey(text: string): ServiceKey {
  if (!isPair(text)) throw resourceError(`bad service name ${JSON.stringify(text.slice(0, 80))}`);
  return text as ServiceKey;
}

/** @throws {MeshError} ERR_XDS_RESOURCE unless `<namespace>/<name>`. */
export function decodePolicyKey(text: string): PolicyKey {
  if (!isPair(text)) throw resourceError(`bad policy name ${JSON.stringify(text.slice(0, 80))}`);
  return text as PolicyKey;
}

/** `<namespace>/<name>`. */
function isPair(text: string): boolean {
  const slash = text.indexOf('/');
  return slash > 0 && slash < text.length - 1 && !text.includes('/', slash + 1);
}
