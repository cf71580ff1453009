/**
 * Servers that answer what they should not, through all that a waypoint does with HTTP. Of a broken answer the client gets
 * 502, or a part that is seen to be one; whatever came with it, the next request gets its own answer.
 */
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import test, { type ExecutionContext } from 'ava';
import { resetSocket } from '../../base/reset-socket.ts';
import { DATA, FLAG_END_STREAM, GOAWAY, HEADERS, RST_STREAM } from '../../net/h2/frame.ts';
import { completeOptions } from '../../net/http1/options.ts';
import { withDeadline } from '../support/deadline.ts';
import { openStream } from '../support/h2-client.ts';
import { frame, headers, request, setting, u32 } from '../support/h2-frames.ts';
import { RawPeer } from '../support/h2-peer.ts';
import { RawSocket } from '../support/http1-peer.ts';
import { privateDirtyBytes } from '../support/memory.ts';
import { servePlainWaypoint, type PlainWaypoint } from '../support/plain-waypoint.ts';
import { RawUpstream, TestWaypoint } from '../support/waypoint-requests.ts';

const E = FLAG_END_STREAM;
/** Far beyond what an answer takes, on a loaded machine too. */
const ANSWER_MS = 15_000;
const STOLEN = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen';
/** Beyond this a body is held, or inflated. */
const HELD_BYTES = 64 << 20;

/** What is said to `/hostile` as it is; to `/harmless-N` its own path. */
class HostileServer {
  readonly port: number;
  connections = 0;
  /** Said at the next `/hostile`. */
  answer = '';
  /** Ends the connection behind it. */
  ends: 'no' | 'end' | 'reset' = 'no';
  readonly sockets = new Set<Socket>();

  private constructor(port: number) {
    this.port = port;
  }

  static async start(t: ExecutionContext): Promise<HostileServer> {
    const server = createServer({ allowHalfOpen: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const hostile = new HostileServer((server.address() as AddressInfo).port);
    server.on('connection', (socket: Socket) => {
      hostile.#serve(socket);
    });
    t.teardown(() => {
      server.close();
      for (const socket of hostile.sockets) socket.destroy();
    });
    return hostile;
  }

  #serve(socket: Socket): void {
    this.connections++;
    this.sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => undefined).on('close', () => this.sockets.delete(socket));
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        const path = text.split(' ', 2)[1] ?? '';
        text = text.slice(end + 4);
        if (path.startsWith('/harmless'))
          socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${path.length}\r\n\r\n${path}`);
        else if (path === '/hostile') this.#answer(socket);
      }
    });
    socket.on('end', () => socket.end());
  }

  #answer(socket: Socket): void {
    socket.write(this.answer, 'latin1', () => {
      if (this.ends === 'end') socket.end();
      if (this.ends === 'reset') resetSocket(socket);
    });
  }
}

let count = 0;

async function expectOwnAnswers(
  t: ExecutionContext,
  { port }: PlainWaypoint,
  what: string,
): Promise<void> {
  const client = await RawSocket.connect(t, port);
  for (let asked = 0; asked < 3; asked++) {
    const path = `/harmless-${++count}`;
    const from = client.text.length;
    client.send(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
    const isOver = ({ text, ended }: RawSocket): boolean =>
      text.endsWith(path) || ended !== undefined;
    await withDeadline(client.until(isOver), ANSWER_MS, () => `${what}: ${client.text}`);
    t.regex(
      client.text.slice(from),
      new RegExp(`^HTTP/1\\.1 200 [^]*\r\n\r\n${path}$`),
      `behind ${what}`,
    );
  }
  client.socket.destroy();
}

type Shape = Readonly<{
  what: string;
  answer: string;
  ends?: 'end' | 'reset';
  method?: 'HEAD' | 'POST';
  /** What the client may be told; `broken`: a beginning of the answer, that is seen to be no more. */
  seen: number | 'broken';
}>;

const ok = (fields: string, body = ''): string => `HTTP/1.1 200 OK\r\n${fields}\r\n${body}`;
const SHAPES: readonly Shape[] = [
  {
    what: 'a length beside chunks',
    answer: ok('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${STOLEN}`),
    seen: 502,
  },
  {
    what: 'two lengths',
    answer: ok('Content-Length: 2\r\nContent-Length: 50\r\n', `ok${STOLEN}`),
    seen: 502,
  },
  { what: 'a length with a sign', answer: ok('Content-Length: +2\r\n', 'ok'), seen: 502 },
  {
    what: 'an unknown coding',
    answer: ok('Transfer-Encoding: xchunked\r\n', `2\r\nok\r\n0\r\n\r\n`),
    seen: 502,
  },
  { what: 'another answer behind', answer: ok('Content-Length: 2\r\n', `ok${STOLEN}`), seen: 200 },
  {
    what: 'another answer behind chunks',
    answer: ok('Transfer-Encoding: chunked\r\n', `2\r\nok\r\n0\r\n\r\n${STOLEN}`),
    seen: 200,
  },
  {
    what: 'a body behind 204',
    answer: `HTTP/1.1 204 No Content\r\n\r\n${STOLEN}`,
    seen: 204,
  },
  {
    what: 'a body behind 304',
    answer: `HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n${STOLEN}`,
    seen: 304,
  },
  {
    what: 'a body behind the answer to HEAD',
    method: 'HEAD',
    answer: ok(`Content-Length: ${STOLEN.length}\r\n`, STOLEN),
    seen: 200,
  },
  {
    what: 'an answer before the body has come',
    method: 'POST',
    answer: ok('Content-Length: 2\r\n', `ok`),
    seen: 200,
  },
  {
    what: 'a storm of interim answers',
    answer: `HTTP/1.1 103 Early Hints\r\n\r\n`.repeat(200) + ok('Content-Length: 2\r\n', 'ok'),
    seen: 502,
  },
  {
    what: 'a change of protocols that nobody asked for',
    answer: `HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n${STOLEN}`,
    seen: 502,
  },
  {
    what: 'a field with a bare CR',
    answer: ok('X: a\rContent-Length: 0\r\nContent-Length: 2\r\n', 'ok'),
    seen: 502,
  },
  { what: 'NUL in a field', answer: ok('X: a\0b\r\nContent-Length: 2\r\n', 'ok'), seen: 502 },
  { what: 'a folded field', answer: ok('X: a\r\n b\r\nContent-Length: 2\r\n', 'ok'), seen: 502 },
  {
    what: 'a space before a colon',
    answer: ok('Content-Length : 2\r\n', `ok${STOLEN}`),
    seen: 502,
  },
  { what: 'no answer of HTTP at all', answer: `stolen\r\n\r\n${STOLEN}`, seen: 502 },
  { what: 'a status of four digits', answer: `HTTP/1.1 2000 OK\r\n\r\n${STOLEN}`, seen: 502 },
  {
    what: 'fields without end',
    answer: ok(`X: ${'a'.repeat(1000)}\r\n`.repeat(200), 'ok'),
    seen: 502,
  },
  { what: 'an end before any answer', answer: '', ends: 'end', seen: 503 },
  { what: 'a reset amid a head', answer: 'HTTP/1.1 200 OK\r\nContent-', ends: 'reset', seen: 503 },
  {
    what: 'an end before all of its length',
    answer: ok('Content-Length: 10\r\n', 'part'),
    ends: 'end',
    seen: 'broken',
  },
  {
    what: 'an end amid chunks',
    answer: ok('Transfer-Encoding: chunked\r\n', '4\r\npart\r\n'),
    ends: 'end',
    seen: 'broken',
  },
  {
    what: 'a reset amid a body that lasts until the end',
    answer: ok('', 'part'),
    ends: 'reset',
    seen: 'broken',
  },
  {
    what: 'a size of a chunk that is none',
    answer: ok('Transfer-Encoding: chunked\r\n', `4\r\npart\r\n0x2\r\nok\r\n0\r\n\r\n`),
    seen: 'broken',
  },
  {
    what: 'a redirection without a body or a length',
    answer: 'HTTP/1.1 303 See Other\r\nLocation: /x\r\n\r\n',
    ends: 'end',
    seen: 303,
  },
];

const isWhole = (text: string): boolean => /0\r\n\r\n$|\r\n\r\nok$/.test(text);

test.serial('S14: of a hostile answer nothing is another request’s, over HTTP/1.1', async (t) => {
  const server = await HostileServer.start(t);
  const waypoint = servePlainWaypoint(t, server.port);
  for (const { what, answer, ends = 'no', method = 'GET', seen } of SHAPES) {
    Object.assign(server, { answer, ends });
    const client = await RawSocket.connect(t, waypoint.port);
    const body = method === 'POST' ? 'Content-Length: 1000000\r\n' : '';
    client.send(`${method} /hostile HTTP/1.1\r\nHost: a\r\n${body}\r\n`);
    const found = async (): Promise<string> =>
      client.until(
        ({ text, ended }) =>
          ended !== undefined ||
          (seen !== 'broken' && text.includes('\r\n\r\n') && statusesOf(text).length > 0),
      );
    await withDeadline(found(), ANSWER_MS, () => `${what}: ${client.text}`);
    if (seen === 'broken') {
      t.not(client.ended, undefined, what);
      if (client.text !== '') t.false(isWhole(client.text), `${what}: ${client.text}`);
    } else t.deepEqual(statusesOf(client.text), [seen], `${what}: ${client.text}`);
    t.false(client.text.includes('stolen'), what);
    await expectOwnAnswers(t, waypoint, what);
    t.false(client.text.includes('stolen'), what);
    client.socket.destroy();
  }
  t.deepEqual(waypoint.faults, []);
});

test.serial('S14: of a hostile answer nothing is another request’s, over HTTP/2', async (t) => {
  const server = await HostileServer.start(t);
  const waypoint = servePlainWaypoint(t, server.port);
  const peer = await RawPeer.connect(waypoint.port);
  t.teardown(() => peer.socket.destroy());
  await peer.begin();
  let id = -1;
  for (const { what, answer, ends = 'no', method = 'GET', seen } of SHAPES) {
    Object.assign(server, { answer, ends });
    id += 2;
    peer.send(headers(id, method === 'POST' ? 0 : E, ...request(method, '/hostile')));
    const { status, body, end } = await withDeadline(exchange(peer, id, method), ANSWER_MS, what);
    if (seen === 'broken') t.is(end, 'reset', what);
    else t.is(status, String(seen), what);
    t.false(body.includes('stolen'), what);
    await expectOwnAnswers(t, waypoint, what);
  }
  t.deepEqual(waypoint.faults, []);
});

test.serial('S14: what a server says without having been asked is nobody’s answer', async (t) => {
  const server = await HostileServer.start(t);
  const waypoint = servePlainWaypoint(t, server.port);
  for (let round = 0; round < 5; round++) {
    await expectOwnAnswers(t, waypoint, 'nothing');
    for (const socket of server.sockets) socket.write(STOLEN);
    await expectOwnAnswers(t, waypoint, 'an answer that nobody asked for');
  }
  t.true(server.connections > 1);
});

/** Final ones. */
function statusesOf(text: string): number[] {
  return Array.from(text.matchAll(/HTTP\/1\.1 ([2-5]\d\d) /g), ([, status]) => Number(status));
}

async function exchange(
  peer: RawPeer,
  id: number,
  method: string,
): Promise<{ status: string; body: string; end: 'end' | 'reset' }> {
  let [status, body] = ['', ''];
  for (;;) {
    const { type, flags, payload, ...found } = await peer.next((f) => f.streamId === id);
    if (type === HEADERS) {
      const [, value = ''] = peer.decode({ type, flags, payload, ...found });
      if (!value.startsWith('1')) status ||= value;
    }
    if (type === DATA) body += payload.toString('latin1');
    if (type === RST_STREAM) return { status, body, end: 'reset' };
    if ((flags & E) !== 0 || (method === 'POST' && body === 'ok'))
      return { status, body, end: 'end' };
  }
}

test.serial('S15: a compressed answer goes on as it is, however large it would be', async (t) => {
  const server = await HostileServer.start(t);
  const waypoint = servePlainWaypoint(t, server.port);
  const bomb = gzipSync(Buffer.alloc(256 << 20));
  const before = privateDirtyBytes();
  server.answer = ok(
    `Content-Encoding: gzip\r\nContent-Length: ${bomb.length}\r\n`,
    bomb.toString('latin1'),
  );
  const client = await RawSocket.connect(t, waypoint.port);
  client.send('GET /hostile HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n');
  const end = bomb.toString('latin1').slice(-100);
  await withDeadline(client.untilText(end), ANSWER_MS, 'all of it');
  t.true(client.text.endsWith(`\r\n\r\n${bomb.toString('latin1')}`), 'byte for byte');
  t.regex(client.text, /^content-encoding: gzip\r$/im);
  t.true(privateDirtyBytes() - before < HELD_BYTES);
});

test.serial(
  'S15: a compressed request goes on as it is, and is not opened to be judged',
  async (t) => {
    const server = await HostileServer.start(t);
    const waypoint = servePlainWaypoint(t, server.port);
    const bomb = gzipSync(Buffer.alloc(64 << 20));
    const before = privateDirtyBytes();
    const client = await RawSocket.connect(t, waypoint.port);
    client.send(
      `POST /harmless HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: ${bomb.length}\r\n\r\n`,
    );
    client.socket.write(bomb);
    await withDeadline(client.untilText('/harmless'), ANSWER_MS, 'an answer');
    t.true(privateDirtyBytes() - before < HELD_BYTES);
  },
);

test.serial(
  'S16: behind a change of protocols bytes are carried, and read by nobody',
  async (t) => {
    const server = await HostileServer.start(t);
    const waypoint = servePlainWaypoint(t, server.port);
    server.answer =
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
      'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n';
    const client = await RawSocket.connect(t, waypoint.port);
    client.send(
      'GET /hostile HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n',
    );
    await withDeadline(client.untilText('\r\n\r\n'), ANSWER_MS, 'a change of protocols');
    t.regex(client.text, /^HTTP\/1\.1 101 /);
    const [socket] = [...server.sockets];
    if (socket === undefined) throw new Error('the server has not been asked');
    const [got, from] = [new RawSocket(socket), client.text.length];
    // Both are requests and answers for whoever reads them: neither may be judged, normalised, or answered.
    const opaque = 'GET //..//admin HTTP/1.1\r\nHost: b\r\nX-Envoy-Internal: 1\r\n\r\n\0\xff';
    client.send(opaque);
    await withDeadline(got.untilText(opaque), ANSWER_MS, 'what was sent');
    t.is(got.text, opaque);
    socket.write(`${STOLEN}\0`, 'latin1');
    await withDeadline(client.untilText(`${STOLEN}\0`), ANSWER_MS, 'what was sent back');
    t.is(client.text.slice(from), `${STOLEN}\0`);
    await expectOwnAnswers(t, waypoint, 'a change of protocols');
  },
);

test.serial(
  'S16: a refused change of protocols leaves nothing to be read as a request',
  async (t) => {
    const server = await HostileServer.start(t);
    const waypoint = servePlainWaypoint(t, server.port);
    server.answer = 'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n';
    const client = await RawSocket.connect(t, waypoint.port);
    client.send(
      'GET /hostile HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n' +
        'GET /harmless-hidden HTTP/1.1\r\nHost: a\r\n\r\n',
    );
    await withDeadline(client.untilEnd(), ANSWER_MS, 'the end');
    t.deepEqual(statusesOf(client.text), [403]);
    t.false(client.text.includes('hidden'));
  },
);

test.serial(
  'S12: a head that comes slowly is cut, and a body and an answer that stand still',
  async (t) => {
    t.true(completeOptions({}).headTimeoutMs <= 10_000);
    const server = await HostileServer.start(t);
    server.answer = ok(`Content-Length: ${64 << 20}\r\n`, 'x'.repeat(64 << 20));
    const waypoint = servePlainWaypoint(t, server.port, {
      server: { http1: { headTimeoutMs: 400, bodyTimeoutMs: 400, writeTimeoutMs: 400 } },
    });
    const head = await RawSocket.connect(t, waypoint.port);
    const body = await RawSocket.connect(t, waypoint.port);
    const reader = await RawSocket.connect(t, waypoint.port);
    head.send('GET /harmless HTTP/1.1\r\n');
    const trickle = setInterval(() => {
      head.send('X: a\r\n');
    }, 50);
    t.teardown(() => {
      clearInterval(trickle);
    });
    body.send('POST /never HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\npart');
    reader.send('GET /hostile HTTP/1.1\r\nHost: a\r\n\r\n');
    reader.socket.pause();
    await expectOwnAnswers(t, waypoint, 'slow clients');
    await withDeadline(head.untilEnd(), ANSWER_MS, 'a slow head is cut');
    t.regex(head.text, /^HTTP\/1\.1 408 /);
    await withDeadline(body.untilEnd(), ANSWER_MS, 'a slow body is cut');
    t.regex(body.text, /^HTTP\/1\.1 408 |^$/);
    await expectOwnAnswers(t, waypoint, 'slow clients');
    const isCut = async (): Promise<void> => {
      while (waypoint.open() > 0) await new Promise((resolve) => setTimeout(resolve, 10));
    };
    await withDeadline(isCut(), ANSWER_MS, 'a slow reader is cut');
    reader.socket.resume();
    await withDeadline(reader.untilEnd(), ANSWER_MS, 'the end');
    t.true(reader.text.length < 64 << 20);
  },
);

test.serial('H12: clients that say GOAWAY and stay leave nothing with a waypoint', async (t) => {
  const server = await HostileServer.start(t);
  const waypoint = servePlainWaypoint(t, server.port);
  const peers = await Promise.all(
    Array.from({ length: 20 }, async () => {
      const peer = await RawPeer.connect(waypoint.port);
      peer.socket.allowHalfOpen = true;
      t.teardown(() => peer.socket.destroy());
      await peer.begin();
      peer.send(headers(1, E, ...request('GET', '/harmless')), frame(GOAWAY, 0, 0, u32(0, 0)));
      await peer.next((f) => f.type === HEADERS);
      return peer;
    }),
  );
  const isLeft = async (): Promise<void> => {
    while (waypoint.open() > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  };
  for (const peer of peers) peer.socket.end();
  await withDeadline(isLeft(), ANSWER_MS, 'their connections are over');
  t.is(waypoint.open(), 0);
});

test.serial(
  'H14: a server that allows no streams and goes away is left, and the next one is asked',
  async (t) => {
    const [first, second] = [await RawUpstream.listen(t), await RawUpstream.listen(t)];
    const waypoint = new TestWaypoint(t, [first.port, second.port]);
    const [stream, body] = openStream(await waypoint.connect(t), request('POST'));
    await body.write('kept');
    stream.end();
    const gone = await first.next();
    await gone.next((f) => f.type === HEADERS);
    gone.send(
      frame(4, 0, 0, setting(3, 0)), // SETTINGS_MAX_CONCURRENT_STREAMS
      frame(GOAWAY, 0, 0, u32(0, 0)),
    );
    const peer = await second.next();
    await peer.next((f) => f.type === HEADERS);
    t.is((await peer.data(4)).toString(), 'kept');
    peer.send(headers(1, E, ':status', '200'));
    await body.until((c) => c.ended);
    t.deepEqual(waypoint.faults, []);
  },
);
