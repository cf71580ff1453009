import type { Authority } from '../../mesh/hbone/authority.ts';
import type { Service } from '../../mesh/model/service.ts';
import { LiveConnection } from '../../mesh/proxy/live-connection.ts';
import { RefusedError } from '../../mesh/proxy/refused-error.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { serveHttpConnection } from '../http.ts';
import type { WaypointParts } from '../parts.ts';
import { followTcpRoute } from '../tcp-route.ts';
import { serveTcp } from '../tcp.ts';
import { refusalOfBypass } from './bypass.ts';

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
        const self = parts.state.localWorkload(parts.self);
        if (self === undefined) throw new RefusedError(503, 'this gateway is not known');
        const target = followTcpRoute(route, authorityOf, parts.state, Math.random());
        const bypass = target.kind === 'service' ? refusalOfBypass(target.service) : undefined;
        if (bypass !== undefined) throw new RefusedError(503, bypass);
        if (target.kind === 'service') live.ends.service = target.service;
        const client = { address: remote, identity: undefined, workload: undefined };
        // What is attached to the service is for its waypoint to enforce; here, what is attached to the gateway.
        const options = { accept: () => stream, secured: { remote, local } };
        await serveTcp({ target, client, self, live }, parts, options);
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

/** As a client in the mesh would ask for the service: by its address, or by name where it has none. */
function authorityOf({ addresses, hostname }: Service, port: number): Authority {
  const [address] = addresses;
  return address === undefined
    ? { kind: 'hostname', hostname, port }
    : { kind: 'address', address: { ip: address.ip, port } };
}
