import { formatSocketAddress, type IpAddress, type SocketAddress } from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import { connectTcp } from '../../net/tcp.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import type { DataParts, PodContext } from '../parts.ts';
import { podConnectOptions } from '../pod-socket-options.ts';

export type LocalDial = Readonly<{
  connectTo: SocketAddress;
  /** The address that the app is to see, the client's; absent: the kernel's choice. */
  bindTo?: IpAddress;
  signal: AbortSignal;
}>;

/**
 * Ports for the connections that stand in for redirected ones. Below the ephemeral range: with the client's own port
 * the two would be one and the same to connection tracking, and hang.
 */
const FIRST_PORT = 16_384;
const LAST_PORT = 32_767;
const MAX_PORT_TRIES = 64;

let nextPort = FIRST_PORT;

/**
 * Dials the local workload behind a tunnel, from the client's address where the kernel lets us.
 *
 * @throws {MeshError} ERR_CONNECT and the like.
 */
export async function connectLocal(
  parts: DataParts,
  pod: PodContext,
  dial: LocalDial,
  transparent: boolean,
): Promise<TcpStream> {
  const source = transparent ? dial.bindTo : undefined;
  const options = podConnectOptions(parts, pod, dial.signal);
  if (source === undefined) return await connectTcp(dial.connectTo, options);
  const bound = { ...options, transparent: true, source: { ip: source, port: 0 } };
  return await connectTcp(dial.connectTo, bound);
}

/**
 * Dials the local workload for a redirected plaintext connection, from the client's address and a port of our choice.
 *
 * @throws {MeshError} ERR_CONNECT and the like; ERR_NO_PORT when all that were tried are in use.
 */
export async function connectRedirected(
  parts: DataParts,
  pod: PodContext,
  dial: LocalDial & { peerPort: number },
  transparent: boolean,
): Promise<TcpStream> {
  const { bindTo, connectTo } = dial;
  if (!transparent || bindTo === undefined) return await connectLocal(parts, pod, dial, false);
  const options = { ...podConnectOptions(parts, pod, dial.signal), transparent: true };
  for (let tries = 0; tries < MAX_PORT_TRIES; tries++) {
    const port = takePort(dial.peerPort);
    try {
      return await connectTcp(connectTo, { ...options, source: { ip: bindTo, port } });
    } catch (error) {
      if (!isPortInUse(error)) throw error;
    }
  }
  const message = `Cannot connect to ${formatSocketAddress(connectTo)} from ${bindTo}: ${MAX_PORT_TRIES} ports are in use`;
  throw new MeshError('ERR_NO_PORT', 'local', message);
}

/** Never the client's own port. */
function takePort(peerPort: number): number {
  if (nextPort === peerPort) nextPort++;
  const port = nextPort > LAST_PORT ? FIRST_PORT : nextPort;
  nextPort = port + 1;
  return port;
}

function isPortInUse(error: unknown): boolean {
  if (!(error instanceof MeshError)) return false;
  return error.code === 'ERR_SYSTEM_EADDRINUSE' || error.message.endsWith('EADDRNOTAVAIL');
}
