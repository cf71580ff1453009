import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import type { ExecutionContext } from 'ava';
import { socketAddress, type SocketAddress } from '../../base/address.ts';

/**
 * A way of plain TCP to a port of this host, until the test is over.
 *
 * @param join what becomes of each connection that comes; `goOn` dials the port for it.
 */
export async function openTcpWay(
  t: ExecutionContext,
  port: number,
  join: (from: Socket, goOn: () => Socket) => void,
): Promise<SocketAddress> {
  const sockets: Socket[] = [];
  const keep = (socket: Socket): Socket => {
    sockets.push(socket.on('error', () => undefined));
    return socket;
  };
  const way = createServer({ allowHalfOpen: true }, (from) => {
    join(keep(from), () => keep(connect({ host: '127.0.0.1', port, allowHalfOpen: true })));
  }).listen(0, '127.0.0.1');
  t.teardown(() => {
    way.close();
    for (const socket of sockets) socket.destroy();
  });
  await once(way, 'listening');
  return socketAddress('127.0.0.1', (way.address() as AddressInfo).port);
}
