import { unreachable } from '../base/unreachable.ts';
import type { AppProtocol } from '../mesh/model/service.ts';
import type { WaypointConnection } from './connection.ts';
import type { WaypointParts } from './parts.ts';
import { serveTcp } from './tcp.ts';

/**
 * What becomes of an admitted connection, by the protocol of its port.
 *
 * @throws {MeshError} why it was not set up; the caller answers and reports.
 */
export async function serveConnection(
  connection: WaypointConnection,
  parts: WaypointParts,
): Promise<void> {
  const protocol = protocolOf(connection);
  switch (protocol) {
    case 'UNKNOWN':
    case 'HTTP11':
    case 'HTTP2':
    case 'GRPC':
    case 'TCP':
    case 'TLS':
      await serveTcp(connection, parts);
      return;
    default:
      unreachable(protocol);
  }
}

/** Of the port that was asked for; of a workload's own port nobody has said anything. */
function protocolOf({ target }: WaypointConnection): AppProtocol {
  if (target.kind === 'workload') return 'UNKNOWN';
  const { ports } = target.service;
  return ports.find(({ servicePort }) => servicePort === target.port)?.appProtocol ?? 'UNKNOWN';
}
