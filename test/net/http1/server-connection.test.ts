import test, { type ExecutionContext } from 'ava';
import { resetSocket } from '../../../base/reset-socket.ts';
import { Collector } from '../../support/collect.ts';
import { makeH2Clock } from '../../support/h2-clock.ts';
import {
  answerText,
  echo,
  RawSocket,
  type Served,
  settle,
  startHttp,
  untilSteady,
} from '../../support/http1-peer.ts';

const GET = 'GET / HTTP/1.1\r\nHost: a.test\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';
const EMPTY = 'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n';

function post(fields: string, body = ''): string {
  return `POST /p?q HTTP/1.1\r\nHost: A.test:80\r\n${fields}\r\n${body}`;
}

function answerEmpty({ exchange }: Served): void {
  exchange.respond([':status', '200'], { endStream: true });
}

async function start(
  t: ExecutionContext,
  onRequest: (served: Served) => void = answerText('ok'),
  options: Parameters<typeof startHttp>[2] = {},
): Promise<{ server: ReturnType<typeof startHttp>; client: RawSocket }> {
  const server = startHttp(t, onRequest, options);
  return { server, client: await RawSocket.connect(t, server.port) };
}

test('a request is told in the form of HTTP/2, without the fields of its connection', async (t) => {
  const { server, client } = await start(t, answerEmpty);
  client.send(
    post(
      'Connection: X-Own, keep-alive\r\nX-Own: 1\r\nKeep-Alive: 5\r\nX-Kept: \xe9\r\nTE: trailers\r\nCookie: a\r\nCookie: b\r\nContent-Length: 0\r\n',
    ),
  );
  await client.untilText(EMPTY);
  t.deepEqual(server.requests[0]?.headers, [
    ...[':method', 'POST', ':scheme', 'http', ':authority', 'a.test', ':path', '/p?q'],
    ...['x-kept', '\xe9', 'cookie', 'a', 'cookie', 'b', 'content-length', '0', 'te', 'trailers'],
  ]);
  t.true(server.requests[0]?.endStream);
});

test('a connection serves one request after another, also with bodies between', async (t) => {
  const { server, client } = await start(t, echo);
  for (let count = 1; count <= 3; count++) {
    client.send(post('Content-Length: 5\r\n', 'hello'));
    await client.until((c) => c.text.split('hello\r\n0\r\n\r\n').length === count + 1);
  }
  t.is(server.connections.length, 1);
  t.deepEqual(server.closed, []);
});

test('pipelined requests are answered in their order, one at a time', async (t) => {
  const { server, client } = await start(t, () => undefined);
  client.send('GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(2));
  await server.untilRequests(1);
  for (let count = 1; count <= 4; count++) {
    await server.untilRequests(count);
    t.is(server.requests.length, count);
    const { exchange, headers = [] } = server.requests[count - 1] ?? {};
    exchange?.respond([':status', '200', 'x-path', headers[7] ?? ''], { endStream: true });
  }
  const text = await client.until((c) => c.text.split(' OK').length === 5);
  t.deepEqual(
    text.match(/x-path: \S+/g),
    ['/1', '/2', '/1', '/2'].map((path) => `x-path: ${path}`),
  );
});

test('while a request is being answered, no more than a bound is read of what is pipelined behind it', async (t) => {
  const { server, client } = await start(t, () => undefined);
  client.send(GET);
  await server.untilRequests(1);
  const many = 400_000;
  client.send(GET.repeat(many));
  // What the system holds for both sockets is some MiB; the rest stays with the client.
  await untilSteady(() => client.socket.writableLength);
  t.true(client.socket.writableLength > 0);
  t.is(server.requests.length, 1);
});

test('a thousand pipelined requests that come at once are all answered', async (t) => {
  const { client } = await start(t, answerEmpty);
  client.send(GET.repeat(1000));
  const text = await client.until((c) => c.text.length === 1000 * EMPTY.length);
  t.is(text, EMPTY.repeat(1000));
});

test('head, body and end of a small answer are one write', async (t) => {
  const { client } = await start(t, ({ exchange }) => {
    exchange.respond([':status', '200']);
    void new Collector(exchange).write('hello').then(() => {
      exchange.end();
    });
  });
  let pieces = 0;
  client.socket.on('data', () => pieces++);
  client.send(GET);
  t.is(
    await client.untilText('0\r\n\r\n'),
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
  );
  t.is(pieces, 1);
});

test('100 is sent when the body is first wanted, and not before', async (t) => {
  const { server, client } = await start(t, () => undefined);
  client.send(post('Expect: 100-continue\r\nContent-Length: 4\r\n'));
  const { exchange } = await server.first();
  t.is(client.text, '');
  const body = new Collector(exchange);
  await client.untilText('HTTP/1.1 100 Continue\r\n\r\n');
  client.send('body');
  await body.until(() => body.ended);
  t.is(body.text, 'body');
  exchange.respond([':status', '204'], { endStream: true });
  t.is(
    await client.untilText('204 No Content\r\n\r\n'),
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n',
  );
});

test('a 100 from behind takes the place of our own, and no client gets one that waits for none', async (t) => {
  const { server, client } = await start(t, () => undefined);
  client.send(post('Expect: 100-continue\r\nContent-Length: 4\r\n'));
  await server.untilRequests(1);
  const { exchange } = server.requests[0] ?? {};
  t.true(exchange?.sendInformational([':status', '103', 'link', '</a>']));
  t.true(exchange?.sendInformational([':status', '100']));
  t.true(exchange?.sendInformational([':status', '100']));
  if (exchange !== undefined) echo({ exchange, headers: [], endStream: false });
  client.send('body');
  const text = await client.untilText('0\r\n\r\n');
  t.is(text.match(/100 Continue/g)?.length, 1);
  t.true(text.startsWith('HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 100'));
});

test('an answer before the body was asked for ends the connection: nobody knows whether the body comes', async (t) => {
  const { server, client } = await start(t, ({ exchange }) => {
    exchange.respond([':status', '413'], { endStream: true });
  });
  client.send(post('Expect: 100-continue\r\nContent-Length: 40\r\n'), GET);
  t.is(await client.untilEnd(), 'end');
  t.regex(client.text, /^HTTP\/1.1 413 .*connection: close\r\n\r\n$/s);
  t.is(server.requests.length, 1);
});

test('trailers reach the handler before the end, those that could change what was decided do not', async (t) => {
  const { server, client } = await start(t, echo);
  const trailers = '0\r\nX-Sum: 1\r\nHost: evil\r\nAuthorization: x\r\nContent-Length: 3\r\n\r\n';
  client.send(
    post('TE: trailers\r\nTransfer-Encoding: chunked\r\n', `2;ext=1\r\nhi\r\n${trailers}`),
  );
  const text = await client.untilText('x-sum: 1\r\n\r\n');
  t.true(text.endsWith('2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n'));
  t.is(server.requests.length, 1);
});

test('trailers are left out for a client that did not say that it reads them', async (t) => {
  const { client } = await start(t, echo);
  client.send(post('Transfer-Encoding: chunked\r\n', '2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n'));
  t.true((await client.untilText('0\r\n\r\n')).endsWith('2\r\nhi\r\n0\r\n\r\n'));
});

for (const [what, method, headers, expected] of [
  [
    'HEAD',
    'HEAD',
    [':status', '200', 'content-length', '2'],
    '200 OK\r\ncontent-length: 2\r\n\r\n',
  ],
  ['204', 'GET', [':status', '204'], '204 No Content\r\n\r\n'],
  [
    '304',
    'GET',
    [':status', '304', 'content-length', '2'],
    '304 Not Modified\r\ncontent-length: 2\r\n\r\n',
  ],
] as const)
  test(`an answer without a body (${what}) has none, even if one is written, and the next one follows`, async (t) => {
    const { client } = await start(t, ({ exchange }) => {
      exchange.respond(headers);
      void new Collector(exchange).write('ok').then(() => {
        exchange.end();
      });
    });
    const request = `${method} / HTTP/1.1\r\nHost: a\r\n\r\n`;
    client.send(request, request);
    t.is(
      await client.until((c) => c.text.length === 2 * (9 + expected.length)),
      `HTTP/1.1 ${expected}`.repeat(2),
    );
  });

test('HTTP/1.0 is asked to upgrade', async (t) => {
  const { server, client } = await start(t);
  client.send('GET / HTTP/1.0\r\n\r\n');
  t.is(await client.untilEnd(), 'end');
  t.regex(client.text, /^HTTP\/1.1 426 .*upgrade, close|^HTTP\/1.1 426 .*close, upgrade/s);
  t.regex(client.text, /\r\nupgrade: HTTP\/1\.1\r\n/);
  t.is(server.requests.length, 0);
});

test('HTTP/1.0 where it is allowed gets one answer, up to the end of the connection', async (t) => {
  const { client } = await start(t, echo, { http1: { allowHttp10: true } });
  client.send(
    'POST / HTTP/1.0\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhiGET / HTTP/1.0\r\n\r\n',
  );
  t.is(await client.untilEnd(), 'end');
  t.is(client.text, 'HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhi');
});

test('CONNECT is refused', async (t) => {
  const { server, client } = await start(t);
  client.send('CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n');
  t.is(await client.untilEnd(), 'end');
  t.regex(client.text, /^HTTP\/1.1 405 .*connection: close\r\n\r\n$/s);
  t.is(server.requests.length, 0);
});

const WEBSOCKET =
  'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n';

test('an upgrade carries bytes both ways, and each side ends for itself', async (t) => {
  const { server, client } = await start(t, () => undefined);
  client.send(WEBSOCKET, 'early');
  const { exchange, headers, endStream } = await server.first();
  t.deepEqual(headers.slice(8), [':protocol', 'websocket']);
  t.false(endStream);
  const body = new Collector(exchange);
  exchange.respond([':status', '101', 'sec-websocket-accept', 'x']);
  await body.until(() => body.text === 'early');
  client.send('GET / HTTP/1.1\r\n\r\n');
  await body.until(() => body.text.endsWith('\r\n\r\n'));
  client.socket.end();
  await body.until(() => body.ended);
  await body.write('last');
  exchange.end();
  t.is(await client.untilEnd(), 'end');
  t.is(
    client.text,
    'HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nlast',
  );
  t.true(exchange.closed);
  await server.untilClosed();
  t.deepEqual(server.closed, [undefined]);
});

test('after an upgrade that was refused the connection ends: what follows may be the other protocol', async (t) => {
  const { server, client } = await start(t, ({ exchange }) => {
    exchange.respond([':status', '403'], { endStream: true });
  });
  client.send(WEBSOCKET + GET);
  t.is(await client.untilEnd(), 'end');
  t.regex(client.text, /^HTTP\/1.1 403 .*connection: close\r\n\r\n$/s);
  t.is(server.requests.length, 1);
});

test('h2c is no protocol to go on with', async (t) => {
  const { server, client } = await start(t);
  client.send(
    'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n',
  );
  await client.untilText('ok');
  t.is(server.requests[0]?.headers.length, 8);
});

test('an answer with a value that would begin another head is refused, and nothing of it goes out', async (t) => {
  const { client } = await start(t, ({ exchange }) => {
    const value = 'b\r\n\r\nHTTP/1.1 200 OK';
    const refused = { code: 'ERR_HTTP1_HEAD' };
    t.throws(() => exchange.sendInformational([':status', '103', 'a', value]), refused);
    t.throws(() => exchange.respond([':status', '200', 'a', value]), refused);
    exchange.respond([':status', '500'], { endStream: true });
  });
  client.send(GET);
  t.regex(
    await client.untilText('\r\n\r\n'),
    /^HTTP\/1.1 500 [^\r]*\r\ncontent-length: 0\r\n\r\n$/,
  );
});

test('101 to a request that asked for nothing cannot be sent', async (t) => {
  const { client } = await start(t, ({ exchange }) => {
    t.throws(() => exchange.respond([':status', '101']), { code: 'ERR_HTTP1_HEAD' });
    exchange.respond([':status', '500'], { endStream: true });
  });
  client.send(GET);
  t.regex(await client.untilText('\r\n\r\n'), /^HTTP\/1.1 500 /);
});

test('a client that has ended its side still gets its answer, and then the end', async (t) => {
  const { server, client } = await start(t, () => undefined);
  client.send(GET);
  client.socket.end();
  await server.untilRequests(1);
  await settle();
  answerText('ok')(await server.first());
  t.is(await client.untilEnd(), 'end');
  t.true(client.text.endsWith('ok'));
  await server.untilClosed();
  t.deepEqual(server.closed, [undefined]);
});

for (const [what, sent] of [
  ['a head', 'GET / HTTP/1.1\r\nHo'],
  ['a body', post('Content-Length: 5\r\n', 'hel')],
  ['a chunk', post('Transfer-Encoding: chunked\r\n', '5\r\nhel')],
] as const)
  test(`a client that ends amid ${what} gets 400, and whoever waits for the rest an error`, async (t) => {
    let body: Collector | undefined;
    const { server, client } = await start(t, ({ exchange }) => {
      body = new Collector(exchange);
    });
    client.send(sent);
    client.socket.end();
    t.is(await client.untilEnd(), 'end');
    t.regex(client.text, /^HTTP\/1.1 400 .*connection: close\r\n\r\n$/s);
    if (body !== undefined) t.like(body, { ended: false, error: { code: 'ERR_HTTP1_EXCHANGE' } });
    await server.untilClosed();
    t.like(server.closed[0], { code: 'ERR_HTTP1_EXCHANGE', side: 'downstream' });
  });

test('a body that breaks its framing is a 400 before the answer, and a reset amid it', async (t) => {
  const { server, client } = await start(t, () => undefined);
  client.send(post('Transfer-Encoding: chunked\r\n', '5\r\nhello'));
  await server.untilRequests(1);
  const { exchange } = await server.first();
  const body = new Collector(exchange);
  exchange.respond([':status', '200']);
  await body.write('part');
  await client.untilText('part\r\n');
  client.send('XX');
  t.is(await client.untilEnd(), 'ECONNRESET');
  t.like(body.error, { code: 'ERR_HTTP1_EXCHANGE' });
  t.false(exchange.sendTrailers([]));
});

test('an exchange that is reset amid its answer resets the connection: never a quiet end', async (t) => {
  for (const fields of [[], ['content-length', '10']]) {
    const { server, client } = await start(t, ({ exchange }) => {
      exchange.respond([':status', '200', ...fields]);
      void new Collector(exchange).write('part');
    });
    client.send(GET);
    await client.until((c) => c.text.includes('part'));
    server.requests[0]?.exchange.reset();
    t.is(await client.untilEnd(), 'ECONNRESET');
    await server.untilClosed();
  }
});

test('an answer that is shorter or longer than its content-length resets the connection', async (t) => {
  for (const text of ['short', 'much too long']) {
    let body: Collector | undefined;
    const { client } = await start(t, ({ exchange }) => {
      body = new Collector(exchange);
      exchange.respond([':status', '200', 'content-length', '8']);
      void body
        .write(text)
        .catch(() => undefined)
        .then(() => {
          exchange.end();
        });
    });
    client.send(GET);
    t.is(await client.untilEnd(), 'ECONNRESET');
    await body?.until((b) => b.error !== undefined);
    t.false(client.text.includes('long'));
  }
});

test('an answer that is never begun and ended is a reset', async (t) => {
  const { client } = await start(t, ({ exchange }) => {
    exchange.end();
  });
  client.send(GET);
  t.is(await client.untilEnd(), 'ECONNRESET');
});

test('the rest of a request that was answered early is read up to a bound, and the connection goes on', async (t) => {
  const { server, client } = await start(t, answerEmpty);
  client.send(post('Content-Length: 60000\r\n', 'x'.repeat(10)));
  await client.untilText(EMPTY);
  client.send('x'.repeat(59_990), GET);
  await client.untilText(EMPTY + EMPTY);
  t.is(server.requests.length, 2);
});

test('beyond that bound the connection ends, with the answer intact', async (t) => {
  const { server, client } = await start(t, answerEmpty);
  client.send(post('Content-Length: 600000\r\n', 'x'.repeat(500_000)));
  t.is(await client.untilEnd(), 'end');
  t.is(client.text, EMPTY);
  await server.untilClosed();
});

test('an answer with `connection: close` from the client is the last one', async (t) => {
  const { server, client } = await start(t);
  client.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', GET);
  t.is(await client.untilEnd(), 'end');
  t.is(client.text, 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok');
  t.is(server.requests.length, 1);
  t.deepEqual(server.closed, [undefined]);
});

test('a draining connection says so in its next answer, and ends after it', async (t) => {
  const { server, client } = await start(t, () => undefined);
  client.send(GET);
  await server.untilRequests(1);
  server.connections[0]?.drain();
  answerText('ok')(await server.first());
  t.is(await client.untilEnd(), 'end');
  t.true(client.text.includes('connection: close'));
});

test('a draining connection that is idle serves the request that is on its way, as its last one', async (t) => {
  const { server, client } = await start(t);
  client.send(GET);
  t.is(await client.untilText('ok'), OK);
  server.connections[0]?.drain();
  client.send(GET, GET);
  t.is(await client.untilEnd(), 'end');
  t.is(client.text, `${OK}HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok`);
  t.is(server.requests.length, 2);
  t.deepEqual(server.closed, [undefined]);
});

test('a draining connection without any request ends after 5 s, however often it is told', async (t) => {
  const clock = makeH2Clock();
  const { server, client } = await start(t, answerText('ok'), { http1: { clock } });
  client.send(GET);
  t.is(await client.untilText('ok'), OK);
  server.connections[0]?.drain();
  clock.advance(4999);
  server.connections[0]?.drain();
  t.deepEqual(server.closed, []);
  clock.advance(1);
  t.is(await client.untilEnd(), 'end');
  t.deepEqual(server.closed, [undefined]);
});

test('a head that takes too long is a 408, an idle connection just ends', async (t) => {
  const clock = makeH2Clock();
  const options = { http1: { clock, headTimeoutMs: 100, idleTimeoutMs: 1000 } };
  const { server, client } = await start(t, answerText('ok'), options);
  client.send(`${GET}GET / HTT`);
  await client.untilText('ok');
  await settle();
  clock.advance(60);
  client.send('P/1');
  await settle();
  t.is(client.ended, undefined);
  clock.advance(41);
  t.is(await client.untilEnd(), 'end');
  t.regex(client.text, /ok(HTTP\/1.1 408 .*connection: close\r\n\r\n)$/s);
  const idle = await RawSocket.connect(t, server.port);
  idle.send(GET);
  await idle.untilText('ok');
  clock.advance(999);
  idle.send(GET);
  await idle.untilText('okHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
  clock.advance(999);
  t.is(idle.ended, undefined);
  clock.advance(2);
  t.is(await idle.untilEnd(), 'end');
  t.false(idle.text.includes('408'));
});

test('a body that stalls is a 408; one that waits for its reader is not', async (t) => {
  const clock = makeH2Clock();
  const bodies: Collector[] = [];
  const { server, client } = await start(
    t,
    ({ exchange }) => {
      const body = new Collector(exchange);
      body.allowance = 3;
      bodies.push(body);
    },
    { http1: { clock, bodyTimeoutMs: 100 } },
  );
  client.send(post('Content-Length: 10\r\n', 'hello'));
  await server.untilRequests(1);
  const [body] = bodies;
  await body?.until((b) => b.received === 3);
  clock.advance(1000);
  t.is(client.ended, undefined);
  body?.release();
  await body?.until((b) => b.received === 5);
  clock.advance(99);
  t.is(client.ended, undefined);
  clock.advance(2);
  t.is(await client.untilEnd(), 'end');
  t.regex(client.text, /^HTTP\/1.1 408 /);
  t.like(body, { error: { code: 'ERR_HTTP1_EXCHANGE' } });
});

test('a client that reads nothing of its answer is reset in time', async (t) => {
  const clock = makeH2Clock();
  const { server, client } = await start(t, () => undefined, {
    http1: { clock, writeTimeoutMs: 100 },
  });
  client.send(GET);
  await server.untilRequests(1);
  client.socket.pause();
  const { exchange } = await server.first();
  exchange.respond([':status', '200']);
  const body = new Collector(exchange);
  void body.write(Buffer.alloc(32 << 20)).catch(() => undefined);
  await untilSteady(() => exchange.bytesWritten);
  clock.advance(101);
  await body.until((b) => b.error !== undefined);
  t.like(body.error, { code: 'ERR_HTTP1_EXCHANGE', side: 'downstream' });
});

test('a reset of the client reaches whoever serves it', async (t) => {
  let body: Collector | undefined;
  const { server, client } = await start(t, ({ exchange }) => {
    body = new Collector(exchange);
  });
  client.send(post('Content-Length: 10\r\n', 'hello'));
  await server.untilRequests(1);
  resetSocket(client.socket);
  await body?.until((b) => b.error !== undefined);
  t.like(server.closed[0], { code: 'ERR_HTTP1_EXCHANGE', side: 'downstream' });
});
