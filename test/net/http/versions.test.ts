import crypto from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import test, { type ExecutionContext } from 'ava';
import { CLIENT_PREFACE } from '../../../net/h2/frame.ts';
import { makeH2Clock } from '../../support/h2-clock.ts';
import { answerText, RawSocket, listen, startHttp } from '../../support/http1-peer.ts';
import { forwardTo } from '../../support/http-forwarder.ts';

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

function connect2(t: ExecutionContext, port: number): http2.ClientHttp2Session {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  session.on('error', () => undefined);
  t.teardown(() => {
    session.destroy();
  });
  return session;
}

async function body(stream: NodeJS.ReadableStream): Promise<string> {
  let text = '';
  stream.setEncoding('latin1');
  for await (const chunk of stream) text += String(chunk);
  return text;
}

for (const [version, size] of [1, 3, 7, 23, 24, 1000].flatMap((size) => [
  ['detect', size] as const,
  ['prefer-http2', size] as const,
]))
  test(`${version} tells both versions apart when they come in pieces of ${size}`, async (t) => {
    const server = startHttp(t, answerText('ok'), { version });
    const raw = await RawSocket.connect(t, server.port);
    for (let at = 0; at < GET.length; at += size) {
      raw.send(GET.slice(at, at + size));
      await new Promise(setImmediate);
    }
    t.regex(await raw.untilText('ok'), /^HTTP\/1.1 200 OK/);
    const second = await RawSocket.connect(t, server.port);
    const bytes = `${CLIENT_PREFACE.toString('latin1')}\0\0\0\x04\0\0\0\0\0`; // with empty SETTINGS
    for (let at = 0; at < bytes.length; at += size) {
      second.send(bytes.slice(at, at + size));
      await new Promise(setImmediate);
    }
    // The server's SETTINGS, and the acknowledgement of the client's.
    await second.until((s) => s.text.includes('\0\0\0\x04\x01\0\0\0\0'));
    t.is(second.text.charCodeAt(3), 4);
  });

test('what begins as the preface of HTTP/2 and goes on as something else is refused as HTTP/1.1', async (t) => {
  const server = startHttp(t, answerText('ok'), { version: 'detect' });
  for (const text of [
    'PRI * HTTP/2.0\r\n\r\nXX',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\rx',
    'PRINT / HTTP/1.1\r\nHost a\r\n\r\n',
  ]) {
    const raw = await RawSocket.connect(t, server.port);
    raw.send(text.slice(0, 3));
    await new Promise(setImmediate);
    raw.send(text.slice(3));
    t.is(await raw.untilEnd(), 'end');
    t.regex(raw.text, /^HTTP\/1.1 (400|505) /);
  }
  t.is(server.requests.length, 0);
});

test('where HTTP/2 is expected, what is neither its preface nor a usual method is a fault of HTTP/2', async (t) => {
  const server = startHttp(t, answerText('ok'), { version: 'prefer-http2' });
  for (const text of [
    'INVALID CONNECTION PREFACE\r\n\r\n',
    'PRINT / HTTP/1.1\r\n\r\n',
    'GETS / HTTP/1.1\r\n',
  ]) {
    const raw = await RawSocket.connect(t, server.port);
    raw.send(text.slice(0, 4));
    await new Promise(setImmediate);
    raw.send(text.slice(4));
    await raw.untilEnd();
    t.is(raw.text.charCodeAt(3), 4); // SETTINGS come first, as in every connection of HTTP/2
  }
  t.is(server.requests.length, 0);
});

test('a connection that drains before it has said anything still serves what was on its way', async (t) => {
  const server = startHttp(t, answerText('ok'), { version: 'detect' });
  const connected = async (count: number): Promise<void> => {
    while (server.connections.length < count) await new Promise(setImmediate);
  };
  const raw = await RawSocket.connect(t, server.port);
  await connected(1);
  server.connections[0]?.drain();
  raw.send(GET);
  t.is(await raw.untilEnd(), 'end');
  t.regex(raw.text, /^HTTP\/1.1 200 OK[^]*connection: close\r\n\r\nok$/);

  const session = connect2(t, server.port);
  await connected(2);
  server.connections[1]?.drain();
  const [wentAway, closed] = [once(session, 'goaway'), once(session, 'close')];
  const stream = session.request({ ':path': '/' });
  t.is(await body(stream), 'ok');
  await wentAway;
  await closed;
  t.deepEqual(server.closed, [undefined, undefined]);
});

test('a connection that drains and says nothing ends after 5 s', async (t) => {
  const clock = makeH2Clock();
  const server = startHttp(t, answerText('ok'), { version: 'detect', http1: { clock } });
  const raw = await RawSocket.connect(t, server.port);
  while (server.connections.length === 0) await new Promise(setImmediate);
  server.connections[0]?.drain();
  clock.advance(4999);
  t.deepEqual(server.closed, []);
  clock.advance(1);
  t.is(await raw.untilEnd(), 'end');
  t.deepEqual(server.closed, [undefined]);
});

test('requests by HTTP/2 are held to what HTTP/1.1 is held to', async (t) => {
  const server = startHttp(t, answerText('ok'), { version: 'http2' });
  const session = connect2(t, server.port);
  const status = async (headers: http2.OutgoingHttpHeaders): Promise<unknown> => {
    const stream = session.request(headers);
    const [answer] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders];
    stream.resume();
    return answer[':status'];
  };
  t.is(await status({ ':authority': 'A.test:80', host: 'a.test:80' }), 200);
  t.deepEqual(server.requests[0]?.headers.slice(0, 8), [
    ...[':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'a.test'],
  ]);
  t.false(server.requests[0]?.headers.includes('host'));
  t.is(await status({ ':method': 'TRACE' }), 405);
  t.is(await status({ ':method': 'CONNECT', ':authority': 'a:443' }), 405);
  t.is(await status({ x_y: '1' }), 400);
  // Methods are case-sensitive, but some servers take one for the other (attack S9).
  t.is(await status({ ':method': 'get' }), 400);
  t.is(await status({ ':method': 'Post' }), 400);
  t.is(await status({ ':scheme': 'ftp' }), 400);
  t.is(await status({ ':authority': 'a_b%00' }), 400);
  t.is(server.requests.length, 1);
});

/** A server that grants an upgrade and then sends back what it gets. */
async function upgradingServer(t: ExecutionContext): Promise<number> {
  const server = http.createServer();
  server.on('upgrade', (request, socket) => {
    socket.on('error', () => undefined);
    // The key of RFC 6455 section 1.3, or what our side made for it.
    const accept = acceptOf(request.headers['sec-websocket-key'] ?? '');
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    socket.pipe(socket);
  });
  return await listen(t, server);
}

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';

function acceptOf(key: string): string {
  return crypto
    .createHash('sha1')
    .update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest('base64');
}

async function upgradingServer2(t: ExecutionContext): Promise<number> {
  const server = http2.createServer({ settings: { enableConnectProtocol: true } });
  server.on('stream', (stream: http2.ServerHttp2Stream, headers) => {
    stream.on('error', () => undefined);
    if (headers[':method'] !== 'CONNECT' || headers[':protocol'] !== 'websocket') {
      stream.respond({ ':status': 400 }, { endStream: true });
      return;
    }
    stream.respond({ ':status': 200 });
    stream.pipe(stream);
  });
  return await listen(t, server);
}

for (const [server, upstream] of [
  [upgradingServer, 'http1'],
  [upgradingServer2, 'http2'],
] as const) {
  test(`a WebSocket that is opened by HTTP/1.1 goes on to a server that speaks ${upstream}`, async (t) => {
    const { port } = forwardTo(t, await server(t), upstream);
    const raw = await RawSocket.connect(t, port);
    raw.send(
      `GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n\r\n`,
    );
    const head = await raw.untilText('\r\n\r\n');
    t.true(head.startsWith('HTTP/1.1 101 '));
    t.true(head.includes(`sec-websocket-accept: ${ACCEPT}\r\n`));
    raw.send('\x81\x05hello');
    await raw.untilText('\x81\x05hello');
    raw.socket.end();
    t.is(await raw.untilEnd(), 'end');
  });

  test(`a WebSocket that is opened by HTTP/2 goes on to a server that speaks ${upstream}`, async (t) => {
    const { port } = forwardTo(t, await server(t), upstream);
    const session = connect2(t, port);
    await once(session, 'remoteSettings');
    const stream = session.request(
      { ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/ws', ':authority': 'a' },
      { endStream: false },
    );
    const [answer] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders];
    t.is(Number(answer[':status']), 200);
    t.is(answer['sec-websocket-accept'], undefined);
    stream.write('hello');
    const [chunk] = (await once(stream, 'data')) as [Buffer];
    t.is(String(chunk), 'hello');
    stream.end();
    stream.resume();
    await once(stream, 'end');
  });
}

test('a request by one version reaches a server of the other whole, with body and trailers', async (t) => {
  const echo1 = http.createServer((request, response) => {
    response.setHeader('x-host', request.headers.host ?? '');
    response.setHeader('trailer', 'x-sum, x-got');
    void body(request).then((text) => {
      response.addTrailers({
        'x-sum': String(text.length),
        'x-got': request.trailers['x-t'] ?? '',
      });
      response.end(text);
    });
  });
  const echo2 = http2.createServer();
  echo2.on('stream', (stream: http2.ServerHttp2Stream, headers) => {
    let got = '';
    stream.on('trailers', (trailers) => (got = String(trailers['x-t'])));
    stream.respond({ 'x-host': headers[':authority'] }, { waitForTrailers: true });
    void body(stream).then((text) => {
      stream.on('wantTrailers', () => {
        stream.sendTrailers({ 'x-sum': String(text.length), 'x-got': got });
      });
      stream.end(text);
    });
  });
  for (const [server, upstream] of [
    [echo1, 'http1'],
    [echo2, 'http2'],
  ] as const) {
    const { port } = forwardTo(t, await listen(t, server), upstream);
    const content = 'x'.repeat(300_000);
    const raw = await RawSocket.connect(t, port);
    raw.send(
      'POST / HTTP/1.1\r\nHost: A.test\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n',
    );
    raw.send(`${content.length.toString(16)}\r\n`, content, '\r\n0\r\nX-T: told\r\n\r\n');
    const text = await raw.until(
      (r) => r.text.includes('x-sum: 300000\r\n') && r.text.endsWith('\r\n\r\n'),
    );
    t.true(text.includes('x-host: a.test\r\n'), upstream);
    t.true(text.includes('x-got: told\r\n'), upstream);
    const session = connect2(t, port);
    const stream = session.request(
      { ':method': 'POST', ':authority': 'a.test' },
      { endStream: false },
    );
    stream.on('wantTrailers', () => undefined);
    const answered = once(stream, 'response') as Promise<[http2.IncomingHttpHeaders]>;
    const trailed = once(stream, 'trailers') as Promise<[http2.IncomingHttpHeaders]>;
    stream.end(content);
    t.is((await answered)[0]['x-host'], 'a.test');
    t.is((await body(stream)).length, content.length);
    t.is((await trailed)[0]['x-sum'], '300000');
  }
});
