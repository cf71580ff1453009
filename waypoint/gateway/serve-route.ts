import type { SocketAddress } from '../../base/address.ts';
import type { Authority } from '../../mesh/hbone/authority.ts';
import type { TcpRoute } from '../../mesh/model/http-route.ts';
import type { Service } from '../../mesh/model/service.ts';
import type { LiveConnection } from '../../mesh/proxy/live-connection.ts';
import { RefusedError } from '../../mesh/proxy/refused-error.ts';
import type { ByteStream } from '../../net/byte-stream.ts';
import type { WaypointParts } from '../parts.ts';
import { followTcpRoute } from '../tcp-route.ts';
import { serveTcp } from '../tcp.ts';
import { refusalOfBypass } from './bypass.ts';

/** A client of the gateway: who, at which address of it, and its record. */
export type EdgeConnection = Readonly<{
  remote: SocketAddress;
  local: SocketAddress;
  live: LiveConnection;
}>;

/**
 * Carries a client's bytes to a backend of a route.
 *
 * @throws {MeshError} why not.
 */
export async function serveRoute(
  downstream: ByteStream,
  route: TcpRoute,
  { remote, local, live }: EdgeConnection,
  parts: WaypointParts,
): Promise<void> {
  const self = parts.state.localWorkload(parts.self);
  if (self === undefined) throw new RefusedError(503, 'this gateway is not known');
  const target = followTcpRoute(route, authorityOf, parts.state, Math.random());
  const bypass = target.kind === 'service' ? refusalOfBypass(target.service) : undefined;
  if (bypass !== undefined) throw new RefusedError(503, bypass);
  if (target.kind === 'service') live.ends.service = target.service;
  const client = { address: remote, identity: undefined, workload: undefined };
  // What is attached to the service is for its waypoint to enforce; here, what is attached to the gateway.
  const options = { accept: () => downstream, secured: { remote, local } };
  await serveTcp({ target, client, self, live }, parts, options);
}

/** As a client in the mesh would ask for the service: by its address, or by name where it has none. */
function authorityOf({ addresses, hostname }: Service, port: number): Authority {
  const [address] = addresses;
  return address === undefined
    ? { kind: 'hostname', hostname, port }
    : { kind: 'address', address: { ip: address.ip, port } };
}
