import { MeshError } from '../../base/errors.ts';
import type { TcpRoute } from '../../mesh/model/http-route.ts';
import { RefusedError } from '../../mesh/proxy/refused-error.ts';
import type { ByteStream } from '../../net/byte-stream.ts';
import type { WaypointParts } from '../parts.ts';
import { followTcpRoute } from '../tcp-route.ts';
import { connectTarget } from '../tcp.ts';
import type { EdgeConnection } from './serve-tls.ts';

/**
 * Carries a client's bytes to a backend of a route, as far as the policies of the gateway let it.
 *
 * @throws {MeshError} why not.
 */
export async function serveRoute(
  downstream: ByteStream,
  route: TcpRoute,
  { remote, local, live }: EdgeConnection,
  parts: WaypointParts,
): Promise<void> {
  const check = (): string | undefined => parts.security.refusalOfConnection({ remote, local });
  const refused = check();
  if (refused !== undefined) throw new RefusedError(401, refused);
  live.setCheck(check);
  const self = parts.state.localWorkload(parts.self);
  if (self === undefined)
    throw new MeshError('ERR_NO_ADDRESS', 'local', 'Cannot connect: this gateway is not known');
  const authority = { kind: 'address', address: local } as const;
  const target = followTcpRoute(route, authority, parts.state, Math.random());
  const upstream = await connectTarget({ client: { address: remote }, target, self, live }, parts);
  if (live.signal.aborted) upstream.reset();
  live.signal.throwIfAborted();
  live.relay(downstream, upstream);
}
