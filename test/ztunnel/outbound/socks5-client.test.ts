import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import test, { type ExecutionContext } from 'ava';
import { resetSocket } from '../../../base/reset-socket.ts';
import { parseIpAddress, socketAddress } from '../../../base/address.ts';
import { listenTcp } from '../../../net/tcp-listener.ts';
import type { TcpStream } from '../../../net/tcp-stream.ts';
import { formatReply, SOCKS5_REPLY, type Socks5Target } from '../../../ztunnel/outbound/socks5.ts';
import { endWithReply, readSocks5Request } from '../../../ztunnel/outbound/socks5-client.ts';
import { Collector } from '../../support/collect.ts';

type Served = Readonly<{ client: Socket; stream: TcpStream; request: Promise<Socks5Target> }>;

/** A client of which one request is read. */
async function serve(
  t: ExecutionContext,
  { gone = new AbortController().signal, timeoutMs = 10_000 } = {},
): Promise<Served> {
  const accepted = Promise.withResolvers<TcpStream>();
  const address = { ip: parseIpAddress('127.0.0.1'), port: 0 };
  const listener = listenTcp({ address }, accepted.resolve);
  const client = connect(listener.local.port, '127.0.0.1');
  client.on('error', () => undefined);
  const stream = await accepted.promise;
  listener.close();
  t.teardown(() => {
    client.destroy();
    stream.reset();
  });
  return { client, stream, request: readSocks5Request(stream, gone, timeoutMs) };
}

const REQUEST = Buffer.from([5, 1, 0, 5, 1, 0, 1, 10, 0, 0, 2, 0x1f, 0x90]);

test('what a hasty client sends behind its request is the payload, whole', async (t) => {
  const { client, stream, request } = await serve(t);
  client.write(Buffer.concat([REQUEST, Buffer.from('payload')]));
  const address = socketAddress('10.0.0.2', 8080);
  t.deepEqual(await request, { kind: 'address', address });
  t.deepEqual([...((await once(client, 'data')) as [Buffer])[0]], [5, 0]);
  const app = new Collector(stream);
  await app.until((c) => c.received === 7);
  t.is(app.text, 'payload');
});

test('a request may come a byte at a time', async (t) => {
  const { client, request } = await serve(t);
  client.setNoDelay(true);
  for (const byte of REQUEST) {
    client.write(Buffer.from([byte]));
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.is((await request).kind, 'address');
});

test('a refused client gets its reply and an end, though it goes on sending', async (t) => {
  const { client, request } = await serve(t);
  client.write(Buffer.concat([Buffer.from([5, 1, 0, 5, 2, 0, 1]), Buffer.alloc(100_000)]));
  await t.throwsAsync(request, { code: 'ERR_SOCKS5', message: /command 2/ });
  const reply = formatReply(SOCKS5_REPLY.commandNotSupported);
  t.deepEqual(await buffer(client), Buffer.concat([Buffer.from([5, 0]), reply]));
});

test('a client of another protocol is reset without a word', async (t) => {
  const { client, request } = await serve(t);
  client.write('GET / HTTP/1.1\r\n\r\n');
  await t.throwsAsync(request, { code: 'ERR_SOCKS5', message: /version 71/ });
  await t.throwsAsync(buffer(client), { code: 'ECONNRESET' });
});

test('a client that says nothing whole in time is reset', async (t) => {
  const { client, request } = await serve(t, { timeoutMs: 50 });
  client.write(REQUEST.subarray(0, 9));
  await t.throwsAsync(request, { code: 'ERR_SOCKS5', message: /within 50 ms/ });
  client.resume();
  const [error] = (await once(client, 'error').catch((thrown: unknown) => [thrown])) as [Error];
  t.like(error, { code: 'ECONNRESET' });
});

test('a client that ends in the middle is refused', async (t) => {
  const { client, stream, request } = await serve(t);
  client.end(REQUEST.subarray(0, 9));
  await t.throwsAsync(request, { code: 'ERR_SOCKS5', message: /an end in the middle/ });
  t.true(stream.closed);
});

test('a client that is reset in the middle has gone', async (t) => {
  const { client, request } = await serve(t);
  client.write(REQUEST.subarray(0, 9));
  await once(client, 'data');
  resetSocket(client);
  await t.throwsAsync(request, { code: 'ERR_CLIENT_GONE' });
});

test('a handshake ends with its pod', async (t) => {
  const pod = new AbortController();
  const { stream, request } = await serve(t, { gone: pod.signal });
  pod.abort(new Error('gone'));
  await t.throwsAsync(request, { code: 'ERR_SOCKS5', message: /the pod has gone/ });
  t.true(stream.closed);
});

test('a late refusal closes also for a client that had ended', async (t) => {
  const { client, stream, request } = await serve(t);
  client.end(REQUEST);
  await request;
  endWithReply(stream, formatReply(SOCKS5_REPLY.hostUnreachable));
  const received = await buffer(client);
  t.deepEqual([...received.subarray(2)], [5, 4, 0, 1, 0, 0, 0, 0, 0, 0]);
  while (!stream.closed) await new Promise((resolve) => setImmediate(resolve));
  t.true(stream.closed);
});
