import { once } from 'node:events';
import net from 'node:net';
import type { ExecutionContext } from 'ava';
import { socketAddress } from '../../base/address.ts';
import { connectTcp } from '../../net/tcp.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';

/** A connection on loopback: our stream, and a socket of Node's as its peer. */
export async function tcpPair(
  t: ExecutionContext,
): Promise<{ ours: TcpStream; theirs: net.Socket }> {
  const server = net.createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  const accepted = once(server, 'connection');
  const ours = await connectTcp(socketAddress('127.0.0.1', port));
  const [theirs] = (await accepted) as [net.Socket];
  theirs.on('error', () => undefined);
  t.teardown(() => {
    theirs.destroy();
    server.close();
    ours.reset();
  });
  return { ours, theirs };
}
