import type { AppProtocol } from '../mesh/model/service.ts';
import { unreachable } from '../base/unreachable.ts';
import { acceptConnection, type WaypointConnection } from './connection.ts';
import { serveHttpConnection } from './http.ts';
import type { WaypointParts } from './parts.ts';
import { sniff } from './sniff.ts';
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
  const protocol = declaredProtocol(connection);
  switch (protocol) {
    case 'HTTP11':
    case 'HTTP2':
    case 'GRPC':
      serveHttpConnection(acceptConnection(connection), connection, parts.http);
      return;
    case 'TCP':
    case 'TLS':
      await serveTcp(connection, parts);
      return;
    case 'UNKNOWN': {
      const { protocol: spoken, stream } = await sniff(acceptConnection(connection));
      if (spoken === 'TCP') await serveTcp(connection, parts, stream);
      else serveHttpConnection(stream, connection, parts.http);
      return;
    }
    default:
      unreachable(protocol);
  }
}

/** Of the port that was asked for; of a workload's own port nobody has said anything. */
function declaredProtocol({ target }: WaypointConnection): AppProtocol {
  return target.kind === 'workload' ? 'UNKNOWN' : protocolOf(target.service, target.port);
}
