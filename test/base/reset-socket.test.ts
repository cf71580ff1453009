import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { resetSocket } from '../../base/reset-socket.ts';

/** Both ends of a connection. */
async function connected(t: ExecutionContext): Promise<{ client: Socket; server: Socket }> {
  const listener = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  t.teardown(() => listener.close());
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;
  const client = connect({ host: '127.0.0.1', port, allowHalfOpen: true });
  const [[server]] = (await Promise.all([
    once(listener, 'connection'),
    once(client, 'connect'),
  ])) as [[Socket], unknown];
  return { client, server };
}

/** What a peer that reads and writes on learns of the end. */
async function howItEnds(server: Socket): Promise<string> {
  const ended = Promise.withResolvers<string>();
  server.on('error', (error: NodeJS.ErrnoException) => {
    ended.resolve(error.code ?? error.message);
  });
  server.on('close', () => {
    ended.resolve('closed');
  });
  server.resume();
  const writing = setInterval(() => server.write('x'), 1);
  try {
    return await ended.promise;
  } finally {
    clearInterval(writing);
  }
}

const STATES: Readonly<Record<string, (socket: Socket) => unknown>> = {
  'that is open': () => undefined,
  'with much still to be sent': (socket) => socket.write(Buffer.alloc(64 << 20)),
  'with much and an end still to be sent': (socket) => socket.end(Buffer.alloc(64 << 20)),
  'whose end is being sent': (socket) => socket.end(),
  'whose last byte and end are being sent': (socket) => socket.end('x'),
  'whose end has been sent': async (socket) => {
    socket.end();
    await once(socket, 'finish');
  },
};

for (const [state, reach] of Object.entries(STATES))
  test(`a connection ${state} is closed, and its peer learns of a reset`, async (t) => {
    t.timeout(10_000);
    const { client, server } = await connected(t);
    await reach(client);
    const closed = once(client, 'close');
    resetSocket(client);
    const [how] = await Promise.all([howItEnds(server), closed]);
    t.true(['ECONNRESET', 'EPIPE'].includes(how), how);
  });
