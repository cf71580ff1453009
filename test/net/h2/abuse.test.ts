import test, { type ExecutionContext } from 'ava';
import {
  DATA,
  FLAG_END_STREAM,
  HEADERS,
  PING,
  PRIORITY,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from '../../../net/h2/frame.ts';
import type { Http2Stream } from '../../../net/h2/stream.ts';
import { startClient } from '../../support/h2-client.ts';
import { makeH2Clock } from '../../support/h2-clock.ts';
import { Collector } from '../../support/collect.ts';
import { frame, headers, request, rstStream, u32 } from '../../support/h2-frames.ts';
import { RawPeer, serveH2 } from '../../support/h2-peer.ts';

const E = FLAG_END_STREAM;

/** Sends what `make` makes `count` times; resolves to how the server ended the connection. */
async function flood(
  t: ExecutionContext,
  count: number,
  make: (index: number) => Buffer,
  onRequest: (stream: Http2Stream) => void = () => undefined,
): Promise<string> {
  const server = serveH2(t, onRequest);
  const peer = await RawPeer.connect(server.port);
  await peer.begin();
  for (let index = 0; index < count && !peer.ended; index++) peer.send(make(index));
  let answer = '';
  do answer = await peer.answer();
  while (!answer.startsWith('GOAWAY') && answer !== 'end');
  await server.untilClosed();
  t.is(server.closed[0]?.side, 'downstream');
  t.is(server.connections[0]?.activeStreams, 0);
  await peer.untilEnd();
  return answer;
}

const calm = test.macro({
  async exec(t, count: number, make: (index: number) => Buffer) {
    t.is(await flood(t, count, make), 'GOAWAY 11');
  },
  title: (given = '') => `the server ends a connection that floods it with ${given}`,
});

const id = (index: number): number => index * 2 + 1;
const open = (index: number): Buffer => headers(id(index), 0, ...request('POST'));
const rst = (index: number): Buffer => frame(RST_STREAM, 0, id(index), u32(8));

test('resets before an answer (H1)', calm, 300, (n) => Buffer.concat([open(n), rst(n)]));
test('zero increments that make us reset (H2)', calm, 300, (n) =>
  Buffer.concat([open(n), frame(WINDOW_UPDATE, 0, id(n), u32(0))]),
);
test('overflowing windows that make us reset (H2)', calm, 300, (n) =>
  Buffer.concat([open(n), frame(WINDOW_UPDATE, 0, id(n), u32(0x7fffffff))]),
);
test('DATA on half-closed streams that makes us reset (H2)', calm, 300, (n) =>
  Buffer.concat([headers(id(n), E, ...request()), frame(DATA, 0, id(n), Buffer.from('x'))]),
);
test('pings (H4)', calm, 2500, () => frame(PING, 0, 0, Buffer.alloc(8)));
test('settings (H5)', calm, 100, () => frame(SETTINGS, 0, 0));
test('empty DATA (H7)', calm, 700, (n) => (n === 0 ? open(0) : frame(DATA, 0, 1)));
test('empty header blocks (H7, H9)', calm, 300, (n) => frame(HEADERS, 5, id(n)));
test('priorities (H8)', calm, 2500, () => frame(PRIORITY, 0, 1, Buffer.alloc(5)));
test('invalid requests (H9)', calm, 300, (n) => headers(id(n), E, ...request(), 'A', 'b'));
test('refused requests', calm, 500, (n) => open(n));
test('window updates without DATA', calm, 5000, () => frame(WINDOW_UPDATE, 0, 0, u32(1)));
test('unknown frames', calm, 6000, () => frame(77, 0, 0));

test('a flood of resets of one stream that has ended is cut off', async (t) => {
  const answer = await flood(
    t,
    2500,
    (n) => (n === 0 ? headers(1, E, ...request()) : rst(0)),
    (stream) => {
      stream.respond([':status', '200'], { endStream: true });
    },
  );
  t.is(answer, 'GOAWAY 11');
});

/** More than a second may hold of what is of no use; the clock of these tests stands still. */
const MANY = 1200;

test('a client may reset each stream that has ended', async (t) => {
  const server = serveH2(
    t,
    (stream) => {
      stream.respond([':status', '200'], { endStream: true });
    },
    { clock: makeH2Clock() },
  );
  const peer = await RawPeer.connect(server.port);
  await peer.begin();
  for (let index = 0; index < MANY; index++) {
    peer.send(headers(id(index), E, ...request()));
    if (index % 50 === 49) await peer.next((f) => f.type === HEADERS && f.streamId === id(index));
    peer.send(rst(index));
  }
  await peer.ping();
  t.deepEqual(server.closed, []);
  peer.socket.destroy();
});

test('a server that has answered before it read the request may reset each stream', async (t) => {
  const { connection, peer } = await startClient(t, { clock: makeH2Clock() });
  for (let index = 0; index < MANY; index++) {
    const stream = connection.openStream(request(), {}, { endStream: true });
    if (stream === undefined) throw new Error('no stream');
    const body = new Collector(stream);
    peer.send(headers(stream.id, E, ':status', '200'), rstStream(stream.id, 0));
    await body.until(({ ended, error }) => ended || error !== undefined);
  }
  await peer.ping();
  t.is(connection.activeStreams, 0);
});

test('resets of tunnels that were open are ordinary ends', async (t) => {
  const server = serveH2(t, (stream) => {
    stream.respond([':status', '200']);
  });
  const peer = await RawPeer.connect(server.port);
  await peer.begin();
  for (let index = 0; index < 1000; index++) {
    peer.send(headers(id(index), 0, ':method', 'CONNECT', ':authority', 'a:1'));
    if (index % 50 === 49) await peer.next((f) => f.type === HEADERS && f.streamId === id(index));
    peer.send(rst(index));
  }
  await peer.ping();
  t.deepEqual(server.closed, []);
  t.is(server.connections[0]?.activeStreams, 0);
  peer.socket.destroy();
});

test('a peer that leaves our answers unread is cut off, however slowly it asks', async (t) => {
  let second = 0;
  const clock = { now: () => (second += 1000), after: () => () => undefined };
  const server = serveH2(t, () => undefined, { clock, keepaliveIdleMs: 0 });
  const peer = await RawPeer.connect(server.port);
  await peer.begin();
  peer.socket.pause();
  const pings = Buffer.concat(
    Array.from({ length: 10_000 }, () => frame(PING, 0, 0, Buffer.alloc(8))),
  );
  for (let sent = 0; server.closed.length === 0 && sent < 1000; sent++)
    await new Promise((resolve) => peer.socket.write(pings, resolve));
  await server.untilClosed();
  t.regex(String(server.closed[0]?.message), /reads none of our answers/);
  t.is(server.closed[0]?.h2Code, 11);
  peer.socket.destroy();
});
