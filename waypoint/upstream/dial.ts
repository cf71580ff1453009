import type { IpAddress, SocketAddress } from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import { makeTraceparent } from '../../mesh/hbone/headers.ts';
import { HBONE_PORT } from '../../mesh/model/ports.ts';
import { connectTunnel, tunnelHeaders } from '../../mesh/proxy/connect.ts';
import { addressOf, peersOf } from '../../mesh/proxy/next-hop.ts';
import type { ByteStream } from '../../net/byte-stream.ts';
import type { HttpClientConnection } from '../../net/http/exchange.ts';
import { connectHttp } from '../../net/http/client.ts';
import type { WaypointParts } from '../parts.ts';
import { connectPlain } from './connect-plain.ts';
import type { ConnectionEvents, UpstreamWay } from './connection.ts';
import type { UpstreamVersion } from './endpoint-pool.ts';
import { needsTls } from './tls.ts';
import type { TargetEndpoint } from './target-backend.ts';

const NO_NAMES: ReadonlyMap<string, readonly IpAddress[]> = new Map();

/**
 * Makes an HTTP connection to an endpoint: in a tunnel with the waypoint's own identity, or plain outside of the mesh; in either
 * case with the application's TLS inside, where policy asks for it.
 *
 * @throws {MeshError} as connectTunnel(), connectTcp() and UpstreamTlsClient.connect(); ERR_NO_ADDRESS.
 */
export async function dialEndpoint(
  parts: WaypointParts,
  endpoint: TargetEndpoint,
  version: UpstreamVersion,
  events: ConnectionEvents,
  timeoutMs: number,
  cancelled: AbortSignal = parts.gone,
): Promise<HttpClientConnection> {
  const signal = AbortSignal.any([AbortSignal.timeout(timeoutMs), parts.gone, cancelled]);
  const onWay = (way: UpstreamWay): void => events.onWay?.(way);
  const below = await connectEndpoint(parts, endpoint, signal, timeoutMs, onWay);
  const { tls, workload, service } = endpoint;
  const transport = needsTls(tls, workload)
    ? await parts.upstreamTls.connect(
        ...([below, tls, version, peersOf(workload, service)] as const),
        { signal, timeoutMs },
      )
    : below;
  return connectHttp(transport, version === 'HTTP/2' ? 'http2' : 'http1', {}, events);
}

/** A connection to an endpoint that carries bytes as they are. @param onWay told of each session that is tried. */
export async function connectEndpoint(
  parts: WaypointParts,
  endpoint: TargetEndpoint,
  signal: AbortSignal,
  timeoutMs: number,
  onWay?: (way: UpstreamWay) => void,
): Promise<ByteStream> {
  const { workload, service, through } = endpoint;
  const self = parts.state.localWorkload(parts.self);
  if (self === undefined)
    throw new MeshError('ERR_NO_ADDRESS', 'local', 'Cannot connect: this waypoint is not known');
  if (workload.network !== self.network)
    throw noAddress(endpoint, `it is in network ${workload.network}, not in ours`);
  const address: SocketAddress = {
    ip: await findAddress(parts, endpoint),
    port: endpoint.endpoint.port,
  };
  if (workload.tunnelProtocol === 'NONE' && through === undefined)
    return await connectPlain(parts, address, { signal, timeoutMs });
  const own: SocketAddress = { ip: self.addresses[0] ?? address.ip, port: 0 };
  const tunnel = await connectTunnel(
    parts,
    {
      ...{ podUid: self.uid, ip: own.ip, identity: parts.self.identity, gone: parts.gone },
      tcpOptions: (limit) => ({ signal: limit }),
    },
    {
      ...(through === undefined
        ? {
            connectTo: { ip: address.ip, port: HBONE_PORT },
            authority: { kind: 'address', address },
            peers: peersOf(workload, service),
          }
        : {
            connectTo: address,
            authority: through.authority,
            peers: peersOf(workload, through.waypoint),
          }),
    },
    {
      // Requests of many clients share the connection, so it speaks for none of them.
      headers: tunnelHeaders(
        { workload: self, address: own },
        { traceparent: makeTraceparent() },
        service?.hostname,
      ),
      ...{ timeoutMs, signal, onSession: (session) => onWay?.(session) },
    },
  );
  return tunnel.stream;
}

async function findAddress(parts: WaypointParts, endpoint: TargetEndpoint): Promise<IpAddress> {
  const { workload, service, address, through } = endpoint;
  const request = { destination: address, resolved: NO_NAMES, random: Math.random };
  let found = addressOf(request, workload, through?.waypoint ?? service);
  if (typeof found === 'object') {
    const addresses = await parts.resolveHostname(found.hostname);
    const resolved = new Map([[found.hostname, addresses]]);
    found = addressOf({ ...request, resolved }, workload, through?.waypoint ?? service);
  }
  if (typeof found !== 'string') throw noAddress(endpoint, 'it has no address');
  return found;
}

function noAddress({ text }: TargetEndpoint, why: string): MeshError {
  return new MeshError('ERR_NO_ADDRESS', 'upstream', `Cannot connect to ${text}: ${why}`);
}
