import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http2 from 'node:http2';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import type { HeaderList } from '../../../net/h2/headers.ts';
import type { Http2Stream } from '../../../net/h2/stream.ts';
import { type H2Server, serveH2 } from '../../support/h2-peer.ts';
import { Collector } from '../../support/collect.ts';

/** node:http2 as the client of our server. */
async function connect(
  t: ExecutionContext,
  server: H2Server,
  options: http2.ClientSessionOptions = {},
): Promise<http2.ClientHttp2Session> {
  const session = http2.connect(`http://127.0.0.1:${server.port}`, options);
  session.on('error', () => undefined);
  t.teardown(() => {
    session.destroy();
  });
  await once(session, 'remoteSettings');
  return session;
}

type Head = http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader;

/** Sends back what it gets. */
function echo(stream: Http2Stream): void {
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

async function head(request: http2.ClientHttp2Stream): Promise<Head> {
  const [headers] = (await once(request, 'response')) as [Head];
  return headers;
}

function digest(...parts: Uint8Array[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
}

test('a request and a response without bodies', async (t) => {
  let seen: HeaderList = [];
  const server = serveH2(t, (stream, headers, endStream) => {
    t.true(endStream);
    seen = headers;
    stream.respond([':status', '204', 'x-answer', 'ä'], { endStream: true });
  });
  const session = await connect(t, server);
  const request = session.request({ ':path': '/a?b', 'x-question': 'why' });
  request.resume();
  const headers = await head(request);
  t.is(headers[':status'], 204);
  t.is(headers['x-answer'], 'ä');
  await once(request, 'close');
  const authority = `127.0.0.1:${server.port}`;
  t.deepEqual(
    [...seen].sort(),
    [':method', 'GET', ':path', '/a?b', ':authority', authority, ':scheme', 'http']
      .concat('x-question', 'why')
      .sort(),
  );
  t.is(server.connections[0]?.activeStreams, 0);
});

test('bodies of 32 MiB go both ways at once, unharmed', async (t) => {
  const server = serveH2(t, (stream) => {
    stream.respond([':status', '200']);
    echo(stream);
  });
  const session = await connect(t, server, { settings: { initialWindowSize: 1 << 20 } });
  session.setLocalWindowSize(4 << 20);
  const request = session.request({ ':method': 'POST' });
  const sent = Array.from({ length: 32 }, () => randomBytes(1 << 20));
  const received = createHash('sha256');
  request.on('data', (chunk: Buffer) => received.update(chunk));
  for (const part of sent) if (!request.write(part)) await once(request, 'drain');
  request.end();
  await once(request, 'end');
  t.is(received.digest('hex'), digest(...sent));
});

test('a hundred streams at a time each get their own bytes back', async (t) => {
  const server = serveH2(t, (stream) => {
    stream.respond([':status', '200']);
    echo(stream);
  });
  const session = await connect(t, server);
  const one = async (index: number): Promise<void> => {
    const body = randomBytes(index * 997);
    const request = session.request({ ':method': 'POST' });
    request.end(body);
    t.is(digest(...((await request.toArray()) as Buffer[])), digest(body));
  };
  await Promise.all(Array.from({ length: 100 }, async (_, index) => one(index)));
  t.is(server.connections[0]?.activeStreams, 0);
});

test('CONNECT is a tunnel with half-close both ways', async (t) => {
  const server = serveH2(t, (stream, headers) => {
    t.deepEqual(headers, [':method', 'CONNECT', ':authority', '10.0.0.1:80']);
    stream.respond([':status', '200']);
    const collector = new Collector(stream);
    void (async () => {
      await collector.until((c) => c.ended);
      await collector.write(`got ${collector.text}`);
      stream.end();
    })();
  });
  const session = await connect(t, server);
  const request = session.request({ ':method': 'CONNECT', ':authority': '10.0.0.1:80' });
  t.is((await head(request))[':status'], 200);
  request.end('all of it');
  t.is(String(Buffer.concat((await request.toArray()) as Buffer[])), 'got all of it');
});

test('informational responses and trailers go both ways', async (t) => {
  const server = serveH2(t, (stream) => {
    stream.sendInformational([':status', '103', 'link', '</a>; rel=preload']);
    stream.setHandler({
      onTrailers(trailers) {
        stream.respond([':status', '200']);
        stream.sendTrailers(['x-seen', trailers.join(' ')]);
      },
    });
    new Collector(stream);
  });
  const session = await connect(t, server);
  const request = session.request({ ':method': 'POST' }, { waitForTrailers: true });
  request.on('wantTrailers', () => {
    request.sendTrailers({ 'x-sum': '42' });
  });
  request.resume().end('body');
  const [early] = (await once(request, 'headers')) as [Head];
  t.is(early[':status'], 103);
  const [trailers] = (await once(request, 'trailers')) as [http2.IncomingHttpHeaders];
  t.is(trailers['x-seen'], 'x-sum 42');
});

test('a reset of the client arrives with its code, and one of ours too', async (t) => {
  const errors: unknown[] = [];
  let count = 0;
  const server = serveH2(t, (stream) => {
    stream.respond([':status', '200']);
    stream.setHandler({
      onError(error) {
        errors.push([error.h2Code, error.processed]);
      },
    });
    if (++count === 2) stream.reset(0xa);
  });
  const session = await connect(t, server);
  const first = session.request({ ':method': 'POST' });
  await head(first);
  first.close(http2.constants.NGHTTP2_CANCEL);
  await once(first, 'close');
  const second = session.request({ ':method': 'POST' });
  const [error] = (await once(second, 'error')) as [Error & { code: string }];
  t.regex(error.message, /CONNECT_ERROR/);
  t.deepEqual(errors, [[8, true]]);
  t.is(server.connections[0]?.activeStreams, 0);
});

test('a reader that stops holds back only its own stream', async (t) => {
  const collectors: Collector[] = [];
  const server = serveH2(
    t,
    (stream) => {
      stream.respond([':status', '200']);
      const collector = new Collector(stream);
      if (collectors.push(collector) === 1) collector.allowance = 1000;
    },
    { streamWindowBytes: 65_536, connectionWindowBytes: 262_144 },
  );
  const session = await connect(t, server);
  const stalled = session.request({ ':method': 'POST' });
  stalled.resume().end(Buffer.alloc(1 << 20, 'a'));
  await head(stalled);
  const running = session.request({ ':method': 'POST' });
  running.resume().end(Buffer.alloc(1 << 20, 'b'));
  await head(running);
  await collectors[1]?.until((c) => c.ended);
  t.is(collectors[1]?.received, 1 << 20);
  t.is(collectors[0]?.received, 1000);
  collectors[0]?.release();
  await collectors[0]?.until((c) => c.ended);
  t.is(collectors[0]?.received, 1 << 20);
});

test('a client that stops reading stops our writing, and one that goes on gets it all', async (t) => {
  const total = 4 << 20;
  let collector: Collector | undefined;
  const server = serveH2(t, (stream) => {
    stream.respond([':status', '200']);
    collector = new Collector(stream);
    void collector.write(Buffer.alloc(total, 'x')).then(() => {
      stream.end();
    });
  });
  const session = await connect(t, server);
  const request = session.request({ ':method': 'GET' });
  await head(request);
  request.pause();
  await new Promise((resolve) => {
    session.ping(Buffer.alloc(8), resolve);
  });
  t.true((collector?.stream.bytesWritten ?? total) < total / 2);
  t.is(Buffer.concat((await request.toArray()) as Buffer[]).length, total);
});

test('drain() lets the running request end, takes no new one, and then ends the connection', async (t) => {
  const streams: Http2Stream[] = [];
  const server = serveH2(t, (stream) => {
    streams.push(stream);
    stream.respond([':status', '200']);
  });
  const session = await connect(t, server);
  const request = session.request({ ':method': 'GET' });
  await head(request);
  server.connections[0]?.drain();
  await once(session, 'goaway');
  t.true(session.closed || !session.destroyed);
  new Collector(streams[0] ?? t.fail()).stream.end();
  request.resume();
  await once(request, 'end');
  await server.untilClosed();
  t.deepEqual(server.closed, [undefined]);
  t.is(request.rstCode, 0);
});

test('close() breaks what is open', async (t) => {
  const server = serveH2(t, (stream) => {
    stream.respond([':status', '200']);
    const collector = new Collector(stream);
    server.connections[0]?.close(0x2);
    t.regex(String(collector.error), /its connection ended \(INTERNAL_ERROR\)/);
  });
  const session = await connect(t, server);
  const request = session.request({ ':method': 'GET' });
  const [error] = (await once(request, 'error')) as [Error & { code: string }];
  t.is(error.code, 'ERR_HTTP2_SESSION_ERROR');
  await server.untilClosed();
  t.is(server.closed[0]?.h2Code, 0x2);
});

test('header lists of any content go through nghttp2 and back unharmed', async (t) => {
  const server = serveH2(t, (stream, headers) => {
    const own = headers.flatMap((name, index) =>
      index % 2 === 0 && name.startsWith('x-') ? [name, headers[index + 1] ?? ''] : [],
    );
    stream.respond([':status', '200', ...own], { endStream: true });
  });
  const session = await connect(t, server, { settings: { headerTableSize: 300 } });
  const value = fc
    .uint8Array({ maxLength: 60 })
    .map((bytes) => bytes.map((byte) => (byte < 0x21 || byte === 0x7f ? 0x61 : byte)))
    .map((bytes) => Buffer.from(bytes).toString('latin1'));
  const name = fc.nat(40).map((number) => `x-${number}`);
  const list = fc.dictionary(name, fc.oneof(fc.constantFrom('a', 'b', 'c d'), value));
  await fc.assert(
    fc.asyncProperty(list, async (fields) => {
      const request = session.request({ ...fields });
      request.resume();
      const answer = await head(request);
      for (const [key, sent] of Object.entries(fields)) t.is(answer[key], sent);
    }),
    { numRuns: 300 },
  );
});
