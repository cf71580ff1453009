import { MeshError } from '../../base/errors.ts';
import { LiveConnection } from '../../mesh/proxy/live-connection.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import type { DownstreamFacts } from '../downstream.ts';
import { serveHttpConnection } from '../http.ts';
import type { WaypointParts } from '../parts.ts';
import { serveTls, speaksTls } from './serve-tls.ts';

/**
 * One connection to a port of the gateway, from accept on. Its client is no part of the mesh: nothing that it says of
 * itself is believed. Never rejects: every end goes into its record.
 */
export function serveEdge(stream: TcpStream, port: number, parts: WaypointParts): void {
  const { peer: remote } = stream;
  const local = { ip: stream.local.ip, port };
  const live = new LiveConnection({
    ...{ parts, podUid: parts.self.name, direction: 'inbound', reporter: 'source' },
    ends: { source: { address: remote }, destination: { address: local } },
  });
  const end = (error: unknown): void => {
    stream.reset();
    live.fail(error);
  };
  try {
    const listeners = parts.gateway.port(port, 'tcp');
    if (listeners !== undefined && speaksTls(listeners)) {
      serveTls(stream, listeners, { remote, local, live }, parts).catch(end);
      return;
    }
    const [first] = listeners?.listeners ?? [];
    if (first?.serves.kind !== 'http')
      throw new MeshError('ERR_NO_ROUTE', 'local', `Cannot serve port ${port}: no listener`);
    const facts: Omit<DownstreamFacts, 'version'> = {
      ...{ remote, local, edge: { scheme: 'http' } },
    };
    serveHttpConnection(stream, 'detect', { facts, live }, parts.http);
  } catch (error) {
    end(error);
  }
}
