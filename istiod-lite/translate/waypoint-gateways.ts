import { tryParseIpAddress } from '../../base/address.ts';
import type { GatewayAddress } from '../../mesh/model/gateway-address.ts';
import type { Service } from '../../mesh/kubernetes/core.ts';
import type { Gateway } from '../../mesh/kubernetes/gateway.ts';
import {
  FOR_SERVICE_ACCOUNT,
  GATEWAY_NAME,
  WAYPOINT_CLASS,
  WAYPOINT_INBOUND_BINDING,
} from '../../mesh/kubernetes/labels.ts';
import type { Labels } from '../../mesh/kubernetes/selector.ts';
import { isAllowedNamespace } from './allowed-namespaces.ts';
import type { Picture } from '../snapshot.ts';
import { isReady } from './readiness.ts';
import { serviceHostname } from './names.ts';
import { clusterNetwork, type GatewayStatusAddress, type MeshSettings } from './settings.ts';

/** Every waypoint listens here; istio/istio pilot ambient index, the port of GatewayAddress. */
const WAYPOINT_PORT = 15008;

/** Where a Gateway is reached, once it can be. */
export function addressOf(
  picture: Picture,
  settings: MeshSettings,
  gateway: Gateway,
): GatewayAddress | undefined {
  const addresses = gatewayAddresses(picture, settings, gateway);
  const host = addresses.find(({ type, value }) => type === 'Hostname' && value !== '');
  if (host !== undefined) return hostnameAddress(gateway.ref.namespace, host.value);
  for (const { value } of addresses) {
    const ip = tryParseIpAddress(value);
    const network = clusterNetwork(picture, settings);
    if (ip !== undefined)
      return { destination: { kind: 'address', network, ip }, hboneMtlsPort: WAYPOINT_PORT };
  }
  return undefined;
}

/** The addresses of a Gateway: those of its status, else those of what runs for it, while a replica is ready. */
export function gatewayAddresses(
  picture: Picture,
  settings: MeshSettings,
  gateway: Gateway,
): readonly GatewayStatusAddress[] {
  const { spec, status, ref } = gateway;
  if (status.addresses.length > 0) return status.addresses;
  if (spec.gatewayClassName !== WAYPOINT_CLASS) return [];
  if (isUnmanaged(gateway)) return spec.addresses;
  const service = serviceOf(picture, gateway);
  if (service === undefined) return [];
  const instances = [...picture.podsOfGateway(ref.namespace, ref.name)];
  if (!instances.some(isReady)) return [];
  const value = serviceHostname(ref.namespace, ref.name, settings);
  const ips = clusterIps(service).map((ip) => ({ type: 'IPAddress', value: ip }));
  return [{ type: 'Hostname', value }, ...ips];
}

/** Its addresses are given, so whatever is behind them is somebody else's to run. */
export function isUnmanaged({ spec }: Gateway): boolean {
  return spec.addresses.some(({ type, value }) => type === 'Hostname' && value !== '');
}

/** The Service that was made for a Gateway, once it has an address; not one that only has its name. */
export function serviceOf(picture: Picture, { ref }: Gateway): Service | undefined {
  const service = picture.get('Service', ref.namespace, ref.name);
  const isOurs = service?.metadata.labels.get(GATEWAY_NAME) === ref.name;
  return isOurs && clusterIps(service).length > 0 ? service : undefined;
}

function clusterIps({ spec: { clusterIP, clusterIPs } }: Service): readonly string[] {
  const given = clusterIPs.length > 0 ? clusterIPs : [clusterIP];
  return given.filter((text) => tryParseIpAddress(text) !== undefined); // "None" and "" are none
}

/** A waypoint by its host name. */
export function hostnameAddress(namespace: string, hostname: string): GatewayAddress {
  return { destination: { kind: 'hostname', namespace, hostname }, hboneMtlsPort: WAYPOINT_PORT };
}

/** Whether a Gateway's waypoint listener lets a namespace use it. */
export function allowsNamespace(picture: Picture, gateway: Gateway, namespace: string): boolean {
  const listener = gateway.spec.listeners.find(
    ({ protocol, port }) => protocol === 'HBONE' && port === WAYPOINT_PORT,
  );
  const namespaces = listener?.allowedRoutes.namespaces ?? { from: 'Same' };
  return isAllowedNamespace(picture, namespaces, gateway.ref.namespace, namespace);
}

/** A label or annotation of a Gateway, or else of its class. */
export function ofGatewayOrClass(
  picture: Picture,
  gateway: Gateway,
  where: 'labels' | 'annotations',
  key: string,
): string | undefined {
  const own = gateway.metadata[where].get(key);
  if (own !== undefined) return own;
  return picture.get('GatewayClass', '', gateway.spec.gatewayClassName)?.metadata[where].get(key);
}

/** The port where a waypoint's own pod expects a PROXY header, from its Gateway or GatewayClass. */
export function applicationTunnelOf(
  picture: Picture,
  namespace: string,
  labels: Labels,
): Readonly<{ port: number }> | undefined {
  const name = labels.get(GATEWAY_NAME);
  const gateway = name === undefined ? undefined : picture.get('Gateway', namespace, name);
  if (gateway === undefined) return undefined;
  const binding = ofGatewayOrClass(picture, gateway, 'annotations', WAYPOINT_INBOUND_BINDING) ?? '';
  const [, protocol, port] = /^([A-Z]+)(?:\/(\d{1,5}))?$/.exec(binding) ?? [];
  if (protocol !== 'PROXY') return undefined;
  const number = Number(port ?? 0);
  return number <= 65535 ? { port: number } : undefined;
}

/** The service accounts that a Gateway serves by annotation. */
export function accountsOf(gateway: Gateway): string[] {
  const value = gateway.metadata.annotations.get(FOR_SERVICE_ACCOUNT) ?? '';
  return value
    .split(',')
    .map((account) => account.trim())
    .filter((account) => account !== '');
}
