import type { SocketAddress } from '../base/address.ts';
import { MeshError } from '../base/errors.ts';
import { acceptTunnel, type TunnelRequest } from '../mesh/hbone/server.ts';
import type { SpiffeId } from '../mesh/model/identity.ts';
import type { Workload } from '../mesh/model/workload.ts';
import type { LiveConnection } from '../mesh/proxy/live-connection.ts';
import type { ByteStream } from '../net/byte-stream.ts';
import type { Target } from './admit.ts';
import type { DownstreamFacts } from './downstream.ts';

/** A tunnel that was admitted, before it is answered: who called, for what, and what becomes of it. */
export type WaypointConnection = Readonly<{
  request: TunnelRequest;
  target: Target;
  client: Readonly<{ address: SocketAddress; identity: SpiffeId; workload: Workload | undefined }>;
  /** This waypoint. */
  self: Workload;
  live: LiveConnection;
}>;

/** A connection whose bytes are carried: in a tunnel, or to a gateway, where nobody proves who it is. */
export type CarriedConnection = Pick<WaypointConnection, 'target' | 'self' | 'live'> &
  Readonly<{
    client: Readonly<{
      address: SocketAddress;
      identity: SpiffeId | undefined;
      workload: Workload | undefined;
    }>;
  }>;

/**
 * Answers 200: from here on the stream carries what the client sends. Where bytes go on as they are, that is told only
 * when the upstream is there, so that the client's proxy may try another waypoint until then.
 *
 * @throws {MeshError} ERR_STREAM_RESET when the client has gone.
 */
export function acceptConnection({ request }: WaypointConnection): ByteStream {
  if (!acceptTunnel(request, ''))
    throw new MeshError(
      'ERR_STREAM_RESET',
      'downstream',
      'Cannot answer a tunnel: its client has gone',
    );
  request.stream.setHandler({}); // from here on whoever reads it hears of its end
  return request.stream;
}

/** What the client called; where it called a name, the first address that has it. */
export function calledAddress(
  target: Target,
  client: Pick<WaypointConnection['client'], 'address'>,
): SocketAddress {
  const { authority, port } = target;
  if (authority.kind === 'address') return authority.address;
  const ip =
    target.kind === 'service' ? target.service.addresses[0]?.ip : target.workload.addresses[0];
  return { ip: ip ?? client.address.ip, port };
}

/** What its requests know of it. */
export function downstreamFacts({
  target,
  client,
}: Pick<WaypointConnection, 'target' | 'client'>): Omit<DownstreamFacts, 'version'> {
  const local = calledAddress(target, client);
  return {
    ...{ remote: client.address, local, identity: client.identity, workload: client.workload },
    ...(target.kind === 'service' ? { service: target.service } : { pod: target.workload }),
  };
}
