import { LiveConnection } from '../../mesh/proxy/live-connection.ts';
import { RefusedError } from '../../mesh/proxy/refused-error.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { serveHttpConnection } from '../http.ts';
import type { WaypointParts } from '../parts.ts';
import { serveRoute } from './serve-route.ts';
import { serveTls, speaksTls } from './serve-tls.ts';

/**
 * One connection to a port of the gateway, from accept on. Its client is no part of the mesh: nothing that it says of
 * itself is believed. Never rejects: every end goes into its record.
 */
export async function serveEdge(
  stream: TcpStream,
  port: number,
  parts: WaypointParts,
): Promise<void> {
  const { peer: remote } = stream;
  const local = { ip: stream.local.ip, port };
  const live = new LiveConnection({
    ...{ parts, podUid: parts.self.name, direction: 'inbound', reporter: 'source' },
    ends: { source: { address: remote }, destination: { address: local } },
  });
  try {
    const listeners = parts.gateway.port(port, 'tcp');
    if (listeners !== undefined && speaksTls(listeners)) {
      await serveTls(stream, listeners, { remote, local, live }, parts);
      return;
    }
    const [first] = listeners?.listeners ?? [];
    switch (first?.serves.kind) {
      case 'http': {
        const facts = { remote, local, edge: { scheme: 'http' } } as const;
        serveHttpConnection(stream, 'detect', { facts, live }, parts.http);
        return;
      }
      case 'tcp': {
        const route = listeners?.listenerOf('')?.route('');
        if (route === undefined) throw new RefusedError(503, `no route is for port ${port}`);
        await serveRoute(stream, route, { remote, local, live }, parts);
        return;
      }
      default:
        throw new RefusedError(503, `no listener is for port ${port}`);
    }
  } catch (error) {
    stream.reset();
    live.fail(error);
  }
}
