import { createHash, randomBytes } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { resetSocket } from '../../../base/reset-socket.ts';
import { socketAddress } from '../../../base/address.ts';
import { Http2Connection } from '../../../net/h2/connection.ts';
import type { Http2ConnectionHandler } from '../../../net/h2/connection-handler.ts';
import type { Http2StreamError } from '../../../net/h2/errors.ts';
import { findHeader, type HeaderList } from '../../../net/h2/headers.ts';
import type { Http2Options } from '../../../net/h2/options.ts';
import type { Http2Stream, SendHeadersOptions } from '../../../net/h2/stream.ts';
import type { Http2StreamHandler } from '../../../net/h2/stream-input.ts';
import { connectTcp } from '../../../net/tcp.ts';
import { Collector } from '../../support/collect.ts';

/** node:http2 as the server of our client. */
async function serve(
  t: ExecutionContext,
  onStream: (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => void,
  settings: http2.Settings = {},
): Promise<{ port: number; server: http2.Http2Server; sessions: http2.ServerHttp2Session[] }> {
  const server = http2.createServer({ settings });
  const sessions: http2.ServerHttp2Session[] = [];
  server.on('session', (session) => {
    sessions.push(session);
    session.on('error', () => undefined);
  });
  server.on('sessionError', () => undefined);
  server.on('stream', (stream, headers) => {
    stream.on('error', () => undefined);
    onStream(stream as http2.ServerHttp2Stream, headers);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, server, sessions };
}

async function connect(
  t: ExecutionContext,
  port: number,
  options: Http2Options = {},
  handler: Http2ConnectionHandler = {},
): Promise<Http2Connection> {
  const connection = Http2Connection.client(
    await connectTcp(socketAddress('127.0.0.1', port)),
    options,
    handler,
  );
  t.teardown(() => {
    connection.close();
  });
  return connection;
}

/** What one stream of ours was told. */
class Exchange implements Http2StreamHandler {
  readonly #events = new EventEmitter();
  response: HeaderList | undefined;
  informational: HeaderList[] = [];
  trailers: HeaderList | undefined;
  error: Http2StreamError | undefined;
  readonly stream: Http2Stream;
  readonly body: Collector;

  constructor(connection: Http2Connection, list: HeaderList, options?: SendHeadersOptions) {
    const stream = connection.openStream(list, this, options);
    if (stream === undefined) throw new Error('no stream');
    this.stream = stream;
    this.body = new Collector(stream);
  }

  onResponse(headers: HeaderList): void {
    this.response = headers;
    this.#events.emit('change');
  }

  onInformational(headers: HeaderList): void {
    this.informational.push(headers);
  }

  onTrailers(headers: HeaderList): void {
    this.trailers = headers;
  }

  onError(error: Http2StreamError): void {
    this.error = error;
    this.#events.emit('change');
  }

  async status(): Promise<string | undefined> {
    while (this.response === undefined && this.error === undefined)
      await once(this.#events, 'change');
    return this.response === undefined ? undefined : findHeader(this.response, ':status');
  }

  async failure(): Promise<Http2StreamError> {
    while (this.error === undefined) await once(this.#events, 'change');
    return this.error;
  }
}

const request = (method = 'GET', path = '/'): string[] => [
  ...[':method', method, ':scheme', 'http', ':path', path, ':authority', 'localhost'],
];

test('a request and its response', async (t) => {
  const { port } = await serve(t, (stream, headers) => {
    t.is(headers['x-question'], 'why');
    stream.respond({ ':status': 200, 'x-answer': String(headers[':path']) });
    stream.end('body');
  });
  const connection = await connect(t, port);
  const list = [...request('GET', '/a?b'), 'x-question', 'why'];
  const exchange = new Exchange(connection, list, { endStream: true });
  t.is(await exchange.status(), '200');
  t.is(findHeader(exchange.response ?? [], 'x-answer'), '/a?b');
  await exchange.body.until((c) => c.ended);
  t.is(exchange.body.text, 'body');
  t.is(connection.activeStreams, 0);
  t.true(exchange.stream.closed);
});

test('bodies of 32 MiB go both ways at once, unharmed', async (t) => {
  const { port } = await serve(
    t,
    (stream) => {
      stream.respond({ ':status': 200 });
      stream.pipe(stream);
    },
    { initialWindowSize: 1 << 20, maxFrameSize: 1 << 18 },
  );
  const exchange = new Exchange(await connect(t, port), request('POST'));
  const sent = createHash('sha256');
  for (let index = 0; index < 32; index++) {
    const part = randomBytes(1 << 20);
    sent.update(part);
    await exchange.body.write(part);
  }
  exchange.stream.end();
  await exchange.body.until((c) => c.ended);
  const received = createHash('sha256');
  for (const chunk of exchange.body.chunks) received.update(chunk);
  t.is(received.digest('hex'), sent.digest('hex'));
  t.is(exchange.stream.bytesWritten, 32 << 20);
  t.is(exchange.stream.bytesRead, 32 << 20);
});

test('CONNECT opens a tunnel with half-close', async (t) => {
  const { port } = await serve(t, (stream, headers) => {
    t.is(headers[':authority'], '10.0.0.1:80');
    stream.respond({ ':status': 200 });
    let got = '';
    stream.setEncoding('latin1').on('data', (text: string) => (got += text));
    stream.on('end', () => stream.end(`got ${got}`));
  });
  const tunnel = [':method', 'CONNECT', ':authority', '10.0.0.1:80'];
  const exchange = new Exchange(await connect(t, port), tunnel);
  t.is(await exchange.status(), '200');
  await exchange.body.write('all of it');
  exchange.stream.end();
  await exchange.body.until((c) => c.ended);
  t.is(exchange.body.text, 'got all of it');
});

test('informational responses and trailers go both ways', async (t) => {
  const { port } = await serve(t, (stream) => {
    stream.additionalHeaders({ ':status': 103, link: '</a>' });
    stream.on('trailers', (trailers) => {
      stream.respond({ ':status': 200 }, { waitForTrailers: true });
      stream.on('wantTrailers', () => {
        stream.sendTrailers({ 'x-seen': trailers['x-sum'] });
      });
      stream.end('body');
    });
    stream.resume();
  });
  const exchange = new Exchange(await connect(t, port), request('POST'));
  await exchange.body.write('hello');
  t.true(exchange.stream.sendTrailers(['x-sum', '42']));
  await exchange.body.until((c) => c.ended);
  t.deepEqual(exchange.informational, [[':status', '103', 'link', '</a>']]);
  t.deepEqual(exchange.trailers, ['x-seen', '42']);
});

test('a header list of several frames arrives whole, in both directions', async (t) => {
  const long = randomBytes(30_000).toString('hex');
  const { port } = await serve(t, (stream, headers) => {
    stream.respond({ ':status': 200, 'x-long': headers['x-long'] });
    stream.end();
  });
  const connection = await connect(t, port, { maxHeaderListBytes: 1 << 20 });
  const list = [...request(), 'x-long', long.slice(0, 40_000)];
  const exchange = new Exchange(connection, list, { endStream: true });
  t.is(await exchange.status(), '200');
  t.is(findHeader(exchange.response ?? [], 'x-long'), long.slice(0, 40_000));
});

test('the codes of resets go both ways', async (t) => {
  const codes: (number | undefined)[] = [];
  const { port } = await serve(t, (stream, headers) => {
    stream.on('close', () => codes.push(stream.rstCode));
    if (headers[':path'] === '/refused') stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
    else if (headers[':path'] === '/cancelled') stream.close(http2.constants.NGHTTP2_CANCEL);
    else stream.respond({ ':status': 200 });
  });
  const connection = await connect(t, port);
  const refused = await new Exchange(connection, request('GET', '/refused')).failure();
  t.deepEqual([refused.h2Code, refused.processed, refused.side], [7, false, 'upstream']);
  const cancelled = await new Exchange(connection, request('GET', '/cancelled')).failure();
  t.deepEqual(
    [cancelled.h2Code, cancelled.processed, cancelled.code],
    [8, true, 'ERR_HTTP2_STREAM'],
  );
  const open = new Exchange(connection, request('GET', '/open'));
  t.is(await open.status(), '200');
  open.stream.reset(0xa);
  const done = new Exchange(connection, request('GET', '/cancelled'));
  await done.failure();
  t.deepEqual(codes, [7, 8, 0xa, 8]);
  t.is(connection.activeStreams, 0);
});

test('the server limits how many streams there are at a time', async (t) => {
  const { port } = await serve(t, () => undefined, { maxConcurrentStreams: 2 });
  let onAvailable: () => void = () => undefined;
  const settings = new Promise<void>((resolve) => (onAvailable = resolve));
  const connection = await connect(
    t,
    port,
    {},
    {
      onAvailable: () => {
        onAvailable();
      },
    },
  );
  await settings;
  t.is(connection.availableStreams(), 2);
  const first = new Exchange(connection, request());
  t.truthy(new Exchange(connection, request()));
  t.is(connection.openStream(request(), {}), undefined);
  first.stream.reset();
  t.is(connection.availableStreams(), 1);
});

test('after GOAWAY no stream is opened, the running one goes on, and then the connection ends', async (t) => {
  const { port, sessions } = await serve(t, (stream) => {
    stream.respond({ ':status': 200 });
    sessions[0]?.close();
    setImmediate(() => stream.end('late'));
  });
  const told: string[] = [];
  let ended: () => void = () => undefined;
  const end = new Promise<void>((resolve) => (ended = resolve));
  const connection = await connect(
    t,
    port,
    {},
    {
      onGoaway: (code, last) => told.push(`goaway ${code} ${last}`),
      onClose: (error) => {
        told.push(`close ${error?.message ?? 'in order'}`);
        ended();
      },
    },
  );
  const exchange = new Exchange(connection, request(), { endStream: true });
  await exchange.body.until((c) => c.ended);
  t.is(exchange.body.text, 'late');
  t.is(connection.openStream(request(), {}), undefined);
  await end;
  t.deepEqual([...new Set(told)], ['goaway 0 1', 'close in order']);
});

test('a server that reads nothing stops our writing, and gets all when it reads', async (t) => {
  let other: http2.ServerHttp2Stream | undefined;
  const { port } = await serve(t, (stream) => {
    other = stream;
    stream.respond({ ':status': 200 });
  });
  const exchange = new Exchange(await connect(t, port), request('POST'));
  t.is(await exchange.status(), '200');
  const total = 2 << 20;
  const writing = exchange.body.write(Buffer.alloc(total, 'x'));
  t.true(exchange.stream.bytesWritten <= 65_535);
  t.is(exchange.stream.capacity(), 0);
  let got = 0;
  other?.on('data', (chunk: Buffer) => (got += chunk.length));
  await writing;
  exchange.stream.end();
  await once(other ?? t.fail(), 'end');
  t.is(got, total);
});

test('a transport that breaks fails every stream', async (t) => {
  const { port, sessions } = await serve(t, () => {
    resetSocket(sessions[0]?.socket ?? t.fail());
  });
  let closed: unknown;
  const connection = await connect(t, port, {}, { onClose: (error) => (closed = error) });
  const exchanges = [1, 2, 3].map(() => new Exchange(connection, request('POST')));
  for (const exchange of exchanges) {
    const error = await exchange.failure();
    t.true(error.processed);
    t.is(exchange.body.error, error);
  }
  t.truthy(closed);
  t.is(connection.activeStreams, 0);
});

test('header fields that could inject are not sent', async (t) => {
  const { port } = await serve(t, () => undefined);
  const connection = await connect(t, port);
  for (const [name, value] of [
    ['a', 'b\r\nc: d'],
    ['A', 'b'],
    ['a b', ''],
    ['connection', 'close'],
  ])
    t.throws(() => connection.openStream([...request(), name ?? '', value ?? ''], {}), {
      code: 'ERR_HTTP2_HEADERS',
    });
  t.is(connection.activeStreams, 0);
});
