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
import { authorityOf, chooseIngressWay } from './ingress-way.ts';

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
  const asked = (service: Service, port: number): Authority =>
    authorityOf(service, parts.network, port);
  const followed = followTcpRoute(route, asked, parts.state, Math.random());
  live.ends.service = followed.service;
  const way = chooseIngressWay(followed.service, Math.random);
  if (way.kind === 'refused') throw new RefusedError(503, way.reason);
  const target = way.kind === 'direct' ? followed : { ...followed, waypoint: way.waypoint };
  const client = { address: remote, identity: undefined, workload: undefined };
  // What is attached to the service is for its waypoint to enforce; here, what is attached to the gateway.
  const options = { accept: () => downstream, secured: { remote, local } };
  await serveTcp({ target, client, self, live }, parts, options);
}
