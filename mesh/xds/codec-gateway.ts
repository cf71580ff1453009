import { describeError, MeshError } from '../../base/errors.ts';
import { unreachable } from '../../base/unreachable.ts';
import type {
  ClientValidation,
  GatewayKey,
  GatewayListener,
  GatewayListeners,
  HostConnections,
  HostRoutes,
  ListenerCertificate,
  ListenerService,
  ListenerTls,
} from '../model/gateway-listener.ts';
import {
  GatewayListeners as GatewayListenersMessage,
  type ClientValidation as ClientValidationMessage,
  type GatewayListener as GatewayListenerMessage,
  type HostConnections as HostConnectionsMessage,
  type HostRoutes as HostRoutesMessage,
  type ListenerCertificate as ListenerCertificateMessage,
  type ListenerTls as ListenerTlsMessage,
} from '../proto/gen/waypoint-gateway.ts';
import { decodePolicyKey, decodePort, resourceError } from './codec-fields.ts';
import { decodeRateLimit, encodeRateLimit } from './codec-limits.ts';
import { decodeHttp, decodeTcp, encodeHttp, encodeTcp } from './codec-routes.ts';
import { decodeName, decodeWholly, required } from './codec-values.ts';

export const GATEWAY_LISTENERS_TYPE = 'type.googleapis.com/halo.waypoint.v1alpha1.GatewayListeners';

const ACCEPTS = ['valid', 'any'] as const;

/**
 * Decodes what a gateway listens for. Errors name no part of a certificate or key.
 *
 * @throws {MeshError} ERR_XDS_RESOURCE with the gateway's name and what was not understood; ERR_PROTO for what is no message.
 */
export function decodeGatewayListeners(bytes: Uint8Array): GatewayListeners {
  const message = decodeWholly(GatewayListenersMessage, bytes, 'a GatewayListeners resource');
  try {
    decodePolicyKey(message.gateway);
    return {
      gateway: message.gateway as GatewayKey,
      listeners: message.listeners.map(decodeListener),
      ...(message.limits.length > 0 && { limits: message.limits.map(decodeRateLimit) }),
      ...(message.clientCertificate && {
        clientCertificate: decodeCertificate(message.clientCertificate),
      }),
    };
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    const what = JSON.stringify(message.gateway.slice(0, 512));
    throw resourceError(`Cannot use the listeners of ${what}: ${describeError(error)}`);
  }
}

/** The bytes of a gateway's listeners; equal listeners give equal bytes. */
export function encodeGatewayListeners(told: GatewayListeners): Uint8Array {
  const { gateway, listeners, clientCertificate, limits = [] } = told;
  return GatewayListenersMessage.encode({
    gateway,
    listeners: listeners.map(encodeListener),
    clientCertificate,
    limits: limits.map(encodeRateLimit),
  }).finish();
}

function decodeListener(message: GatewayListenerMessage): GatewayListener {
  const { name, hostname, tls } = message;
  const port = decodePort(message.port, 'port', { zero: false });
  const serves = decodeService(message.serves);
  if (tls === undefined) return { name, port, hostname, serves };
  if (serves.kind === 'udp' || serves.kind === 'passthrough')
    throw resourceError(`listener ${name.slice(0, 512)}: TLS does not end at ${serves.kind}`);
  return { name, port, hostname, serves, tls: decodeTls(tls) };
}

function encodeListener({ tls, serves, ...listener }: GatewayListener): GatewayListenerMessage {
  return {
    ...listener,
    serves: encodeService(serves),
    tls:
      tls === undefined
        ? undefined
        : { certificates: tls.certificates.map((each) => ({ ...each })), clients: tls.clients },
  };
}

function decodeService(serves: GatewayListenerMessage['serves']): ListenerService {
  switch (serves?.$case) {
    case 'http':
      return { kind: 'http', hosts: decodeHosts(serves.value.hosts, decodeHostRoutes) };
    case 'tcp':
    case 'passthrough':
      return { kind: serves.$case, hosts: decodeHosts(serves.value.hosts, decodeHostConnections) };
    case 'udp': {
      const { route } = serves.value;
      return { kind: 'udp', ...(route === undefined ? {} : { route: decodeTcp(route) }) };
    }
    case undefined:
      throw resourceError('a listener of no known kind');
  }
}

function encodeService(serves: ListenerService): NonNullable<GatewayListenerMessage['serves']> {
  switch (serves.kind) {
    case 'http':
      return {
        $case: 'http',
        value: {
          hosts: serves.hosts.map(({ hostnames, routes }) => ({
            ...{ hostnames: [...hostnames], routes: encodeHttp(routes) },
          })),
        },
      };
    case 'tcp':
    case 'passthrough':
      return {
        $case: serves.kind,
        value: {
          hosts: serves.hosts.map(({ hostnames, route }) => ({
            ...{ hostnames: [...hostnames], route: encodeTcp(route) },
          })),
        },
      };
    case 'udp':
      return { $case: 'udp', value: { route: serves.route && encodeTcp(serves.route) } };
    default:
      return unreachable(serves);
  }
}

/** A name that stood in two would be served by whichever is found first. */
function decodeHosts<M extends Readonly<{ hostnames: readonly string[] }>, T>(
  messages: readonly M[],
  decode: (message: M) => T,
): T[] {
  const seen = new Set<string>();
  for (const name of messages.flatMap(({ hostnames }) => hostnames)) {
    if (seen.has(name)) throw resourceError(`host name ${JSON.stringify(name)} twice`);
    seen.add(name);
  }
  return messages.map(decode);
}

function decodeHostRoutes({ hostnames, routes }: HostRoutesMessage): HostRoutes {
  return { hostnames, routes: decodeHttp(required(routes, 'routes')) };
}

function decodeHostConnections({ hostnames, route }: HostConnectionsMessage): HostConnections {
  return { hostnames, route: decodeTcp(required(route, 'route')) };
}

function decodeTls({ certificates, clients }: ListenerTlsMessage): ListenerTls {
  if (certificates.length === 0) throw resourceError('TLS without a certificate');
  return {
    certificates: certificates.map(decodeCertificate),
    ...(clients === undefined ? {} : { clients: decodeClients(clients) }),
  };
}

function decodeCertificate({ chainPem, keyPem }: ListenerCertificateMessage): ListenerCertificate {
  return { chainPem, keyPem };
}

function decodeClients({ rootsPem, accepts }: ClientValidationMessage): ClientValidation {
  return { rootsPem, accepts: decodeName(ACCEPTS, accepts, 'clients.accepts') };
}
