import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import tls from 'node:tls';
import { readClientHello } from '../../net/client-hello.ts';

/** What a client of node:tls says first, key shares and all. */
export async function recordClientHello(options: tls.ConnectionOptions): Promise<Buffer> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const client = tls.connect({ host: '127.0.0.1', port, ...options });
  client.on('error', () => undefined);
  const [socket] = await accepted;
  try {
    let hello = Buffer.alloc(0);
    do {
      const [piece] = (await once(socket, 'data')) as [Buffer];
      hello = Buffer.concat([hello, piece]);
    } while (readClientHello(hello).kind === 'more');
    return hello;
  } finally {
    client.destroy();
    socket.destroy();
    server.close();
  }
}
