import type { SocketAddress } from '../../base/address.ts';
import { connectTcp } from '../../net/tcp.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import type { WaypointParts } from '../parts.ts';

/**
 * Connects to what is outside of the mesh.
 *
 * @throws {MeshError} as connectTcp().
 */
export async function connectPlain(
  { keepAlive }: WaypointParts,
  to: SocketAddress,
  limits: Readonly<{ signal: AbortSignal; timeoutMs: number }>,
): Promise<TcpStream> {
  return await connectTcp(to, { ...limits, ...(keepAlive && { keepAlive }) });
}
