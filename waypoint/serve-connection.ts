import type { TcpRoute } from '../mesh/model/http-route.ts';
import { identityParts } from '../mesh/model/identity.ts';
import type { AppProtocol } from '../mesh/model/service.ts';
import { keyOfService } from '../mesh/proxy/state/vips.ts';
import { unreachable } from '../base/unreachable.ts';
import { acceptConnection, downstreamFacts, type WaypointConnection } from './connection.ts';
import { serveHttpConnection } from './http.ts';
import type { ByteStream } from '../net/byte-stream.ts';
import type { WaypointParts } from './parts.ts';
import { routesFor } from './routing.ts';
import { sniff } from './sniff.ts';
import { followTcpRoute } from './tcp-route.ts';
import { serveTcp } from './tcp.ts';
import { protocolOf } from './upstream/targets.ts';

/**
 * What becomes of an admitted connection, by the protocol of its port; where nobody has declared one, by its first bytes.
 *
 * @throws {MeshError} why it was not set up; the caller answers and reports.
 */
export async function serveConnection(
  connection: WaypointConnection,
  parts: WaypointParts,
): Promise<void> {
  const route = tcpRouteOf(connection, parts);
  const accept = (): ByteStream => acceptConnection(connection);
  if (route !== undefined) {
    const { authority } = connection.target;
    const target = followTcpRoute(route, () => authority, parts.state, Math.random());
    await serveTcp(connection, parts, { target, accept });
    return;
  }
  const protocol = declaredProtocol(connection);
  switch (protocol) {
    case 'HTTP11':
      serveRequests(acceptConnection(connection), 'detect', connection, parts);
      return;
    case 'HTTP2':
    case 'GRPC':
      serveRequests(acceptConnection(connection), 'prefer-http2', connection, parts);
      return;
    case 'TCP':
    case 'TLS':
      await serveTcp(connection, parts, { accept });
      return;
    case 'UNKNOWN': {
      const { protocol: spoken, stream } = await sniff(acceptConnection(connection));
      if (spoken === 'TCP') await serveTcp(connection, parts, { accept: () => stream });
      else serveRequests(stream, 'detect', connection, parts);
      return;
    }
    default:
      unreachable(protocol);
  }
}

function serveRequests(
  stream: ByteStream,
  version: 'prefer-http2' | 'detect',
  connection: WaypointConnection,
  { http }: WaypointParts,
): void {
  const served = { facts: downstreamFacts(connection), live: connection.live };
  serveHttpConnection(stream, version, served, http);
}

/** Of the port that was asked for; of a workload's own port nobody has said anything. */
function declaredProtocol({ target }: WaypointConnection): AppProtocol {
  return target.kind === 'workload' ? 'UNKNOWN' : protocolOf(target.service, target.port);
}

/** A route for bytes, whatever the port's protocol: who attached it wants its connections carried whole. */
function tcpRouteOf(
  { target, client }: WaypointConnection,
  { store }: WaypointParts,
): TcpRoute | undefined {
  if (target.kind === 'workload') return undefined;
  const { namespace } = identityParts(client.identity);
  const routes = routesFor(store.config(keyOfService(target.service)), namespace, target.port);
  return routes?.kind === 'tcp' ? routes.route : undefined;
}
