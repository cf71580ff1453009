import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http2 from 'node:http2';
import test, { type ExecutionContext } from 'ava';
import { parseIpAddress } from '../../../base/address.ts';
import type { ByteStream } from '../../../net/byte-stream.ts';
import { Http2Connection } from '../../../net/h2/connection.ts';
import type { Http2Stream } from '../../../net/h2/stream.ts';
import { connectTcp } from '../../../net/tcp.ts';
import { listenTcp } from '../../../net/tcp-listener.ts';
import { acceptTls, connectTls } from '../../../net/tls.ts';
import { TlsContext } from '../../../net/tls-context.ts';
import { Collector } from '../../support/collect.ts';
import { makeTestCa } from '../../support/test-ca.ts';

const ca = makeTestCa();
const client = ca.issue('spiffe://cluster.local/ns/shop/sa/web');
const server = ca.issue('spiffe://cluster.local/ns/shop/sa/cart');
const gateway = ca.issue('spiffe://cluster.local/ns/shop/sa/gateway');
const loopback = parseIpAddress('127.0.0.1');

/** Our server over TLS on loopback. */
function serve(
  t: ExecutionContext,
  context: TlsContext,
  onRequest: (stream: Http2Stream) => void,
): number {
  const listener = listenTcp({ address: { ip: loopback, port: 0 } }, (socket) => {
    void acceptTls(socket, context).then((session) => {
      const connection = Http2Connection.server(session, {}, { onRequest });
      t.teardown(() => {
        connection.close();
      });
    });
  });
  t.teardown(() => {
    listener.close();
  });
  return listener.local.port;
}

function echo(stream: Http2Stream): void {
  stream.respond([':status', '200']);
  stream.setSink({
    capacity: () => stream.capacity(),
    onData: (bytes, offset, length) => stream.write(bytes, offset, length),
    onEnd() {
      stream.end();
    },
    onError: () => undefined,
    onWritable() {
      stream.resume();
    },
  });
}

function openTunnel(t: ExecutionContext, transport: ByteStream): Http2Stream {
  const connection = Http2Connection.client(transport, {}, {});
  t.teardown(() => {
    connection.close();
  });
  const tunnel = [':method', 'CONNECT', ':authority', '10.0.0.1:80'];
  return connection.openStream(tunnel, {}) ?? t.fail();
}

/** Sends `mebibytes` of noise, ends, and checks that the same comes back. */
async function checkEcho(
  t: ExecutionContext,
  stream: Http2Stream,
  mebibytes: number,
): Promise<void> {
  const body = new Collector(stream);
  const sent = createHash('sha256');
  for (let index = 0; index < mebibytes; index++) {
    const part = randomBytes(1 << 20);
    sent.update(part);
    await body.write(part);
  }
  stream.end();
  await body.until((c) => c.ended || c.error !== undefined);
  t.is(body.error, undefined);
  t.is(createHash('sha256').update(body.data).digest('hex'), sent.digest('hex'));
  t.true(stream.closed);
}

test('a tunnel over mutual TLS carries 16 MiB each way', async (t) => {
  const port = serve(t, new TlsContext(server), echo);
  const socket = await connectTcp({ ip: loopback, port });
  const session = await connectTls(socket, new TlsContext(client));
  await checkEcho(t, openTunnel(t, session), 16);
});

test('a tunnel in a tunnel, each with TLS of its own, carries 8 MiB each way', async (t) => {
  const innerContext = new TlsContext(server);
  const port = serve(t, new TlsContext(gateway), (outer) => {
    outer.respond([':status', '200']);
    void acceptTls(outer, innerContext).then((session) =>
      Http2Connection.server(session, {}, { onRequest: echo }),
    );
  });
  const context = new TlsContext(client);
  const outer = await connectTls(await connectTcp({ ip: loopback, port }), context);
  const inner = await connectTls(openTunnel(t, outer), context);
  await checkEcho(t, openTunnel(t, inner), 8);
});

test('node:http2 over TLS gets 16 MiB back from our server', async (t) => {
  const port = serve(t, new TlsContext(server), echo);
  const session = http2.connect(`https://127.0.0.1:${port}`, {
    key: client.privateKeyPem,
    cert: client.chainPem.join(''),
    ca: [...client.rootsPem],
    checkServerIdentity: () => undefined,
  });
  t.teardown(() => {
    session.destroy();
  });
  await once(session, 'remoteSettings');
  const request = session.request({ ':method': 'POST' });
  const sent = Array.from({ length: 16 }, () => randomBytes(1 << 20));
  const received = createHash('sha256');
  request.on('data', (chunk: Buffer) => received.update(chunk));
  for (const part of sent) if (!request.write(part)) await once(request, 'drain');
  request.end();
  await once(request, 'end');
  const expected = createHash('sha256');
  for (const part of sent) expected.update(part);
  t.is(received.digest('hex'), expected.digest('hex'));
});
