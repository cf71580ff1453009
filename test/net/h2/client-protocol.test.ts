import { once } from 'node:events';
import net from 'node:net';
import test from 'ava';
import { socketAddress } from '../../../base/address.ts';
import { Http2Connection } from '../../../net/h2/connection.ts';
import {
  CLIENT_PREFACE,
  DATA,
  FLAG_ACK,
  FLAG_END_STREAM,
  GOAWAY,
  HEADERS,
  PING,
  PUSH_PROMISE,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from '../../../net/h2/frame.ts';
import { connectTcp } from '../../../net/tcp.ts';
import { shared } from '../../support/collect.ts';
import { makeH2Clock } from '../../support/h2-clock.ts';
import { openStream, refusals, startClient } from '../../support/h2-client.ts';
import { block, frame, headers, request, setting, u32 } from '../../support/h2-frames.ts';
import { RawPeer } from '../../support/h2-peer.ts';

const E = FLAG_END_STREAM;

const ok = headers(1, 0, ':status', '200');

test('a response without :status', refusals, [headers(1, E, 'a', 'b')], 'RST 1 1');
test('a status of two digits', refusals, [headers(1, E, ':status', '20')], 'RST 1 1');
test('status 101', refusals, [headers(1, 0, ':status', '101')], 'RST 1 1');
test(
  'a request pseudo-header in a response',
  refusals,
  [headers(1, E, ':status', '200', ':path', '/')],
  'RST 1 1',
);
test(
  'connection in a response',
  refusals,
  [headers(1, E, ':status', '200', 'connection', 'x')],
  'RST 1 1',
);
test('a 1xx response that ends', refusals, [headers(1, E, ':status', '103')], 'RST 1 1');
test(
  'a storm of 1xx responses',
  refusals,
  Array.from({ length: 33 }, () => headers(1, 0, ':status', '103')),
  'RST 1 11',
);
test('DATA before the response', refusals, [frame(DATA, 0, 1, Buffer.from('x'))], 'RST 1 1');
test(
  'a body longer than content-length',
  refusals,
  [headers(1, 0, ':status', '200', 'content-length', '1'), frame(DATA, 0, 1, Buffer.from('xx'))],
  'RST 1 1',
);
test(
  'a body shorter than content-length',
  refusals,
  [headers(1, 0, ':status', '200', 'content-length', '3'), frame(DATA, E, 1, Buffer.from('xx'))],
  'RST 1 1',
);
test(
  'a body of a 204',
  refusals,
  [headers(1, 0, ':status', '204'), frame(DATA, 0, 1, Buffer.from('x'))],
  'RST 1 1',
);
test(
  'a body of a response to HEAD',
  refusals,
  [ok, frame(DATA, 0, 1, Buffer.from('x'))],
  'RST 1 1',
  request('HEAD'),
);
test('a second response', refusals, [ok, ok], 'RST 1 1');
test(
  'a header list beyond its limit',
  refusals,
  [headers(1, 0, ':status', '200', ...Array.from({ length: 600 }, () => ['a', 'b']).flat())],
  'RST 1 11',
);
test(
  'PUSH_PROMISE',
  refusals,
  [frame(PUSH_PROMISE, 4, 1, Buffer.concat([u32(2), block(...request())]))],
  'GOAWAY 1',
);
test('a server that opens a stream', refusals, [headers(2, E, ...request())], 'GOAWAY 1');
test('a response on an idle stream', refusals, [headers(3, E, ':status', '200')], 'GOAWAY 1');
test('ENABLE_PUSH 1 of a server', refusals, [frame(SETTINGS, 0, 0, setting(2, 1))], 'GOAWAY 1');
test(
  'DATA beyond the stream window',
  refusals,
  [ok, ...Array.from({ length: 5 }, () => frame(DATA, 0, 1, Buffer.alloc(1 << 20)))],
  'RST 1 3',
  request('GET', '/stalled'),
);

test('the client takes a HEAD response with content-length, and a CONNECT one that has none', async (t) => {
  const { connection, peer } = await startClient(t);
  const [, head, told] = openStream(connection, request('HEAD'));
  await peer.next((f) => f.type === HEADERS);
  peer.send(headers(1, E, ':status', '200', 'content-length', '5'));
  await head.until((c) => c.ended);
  t.is(told.responses.length, 1);
  const [, tunnel] = openStream(connection, [':method', 'CONNECT', ':authority', 'a:1']);
  await peer.next((f) => f.type === HEADERS);
  peer.send(
    headers(3, 0, ':status', '200', 'content-length', '1'),
    frame(DATA, 0, 3, Buffer.from('abc')),
  );
  await tunnel.until((c) => c.received === 3);
  t.is(tunnel.error, undefined);
});

test('a complete response followed by RST_STREAM NO_ERROR is delivered whole', async (t) => {
  const { connection, peer } = await startClient(t);
  const [stream, body, told] = openStream(connection, request('POST'));
  await peer.next((f) => f.type === HEADERS);
  body.allowance = 1;
  peer.send(
    ok,
    frame(DATA, 0, 1, Buffer.from('body')),
    headers(1, E, 'x-sum', '1'),
    frame(RST_STREAM, 0, 1, u32(0)),
  );
  await body.until((c) => c.received === 1);
  await peer.ping();
  t.true(stream.closed);
  t.is(connection.activeStreams, 0);
  t.is(body.error, undefined);
  body.release();
  await body.until((c) => c.ended);
  t.is(body.text, 'body');
  t.deepEqual(told.trailers, [['x-sum', '1']]);
  t.is(told.error?.h2Code, 0);
});

test('after GOAWAY the streams beyond its last id were not processed, those up to it go on', async (t) => {
  const { connection, peer } = await startClient(t);
  const [, first] = openStream(connection);
  const [, second, told] = openStream(connection);
  await peer.next((f) => f.streamId === 3);
  peer.send(frame(GOAWAY, 0, 0, Buffer.concat([u32(1, 0), Buffer.alloc(70_000, 'x')])), ok);
  await second.until((c) => c.error !== undefined);
  t.deepEqual([told.error?.processed, told.error?.h2Code], [false, 0]);
  t.is(connection.availableStreams(), 0);
  peer.send(frame(DATA, E, 1, Buffer.from('still')));
  await first.until((c) => c.ended);
  t.is(first.text, 'still');
});

test('windows may go negative by SETTINGS, and open again by either', async (t) => {
  const { connection, peer } = await startClient(t, {}, setting(4, 10));
  const [stream] = openStream(connection, request('POST'));
  const { bytes } = shared('x'.repeat(100));
  t.is(stream.capacity(), 10);
  t.is(stream.write(bytes, 9, 100), 10);
  await peer.data(10);
  const woken = new Promise<void>((resolve) => {
    stream.setSink({
      capacity: () => 1,
      onData: () => 0,
      onEnd: () => undefined,
      onError: () => undefined,
      onWritable: resolve,
    });
  });
  peer.send(frame(SETTINGS, 0, 0, setting(4, 4)));
  await peer.next((f) => f.type === SETTINGS);
  peer.send(frame(WINDOW_UPDATE, 0, 1, u32(6)));
  await peer.ping();
  t.is(stream.capacity(), 0, '4 - 10 + 6');
  peer.send(frame(WINDOW_UPDATE, 0, 1, u32(5)));
  await woken;
  t.is(stream.capacity(), 5);
  t.is(stream.write(bytes, 9, 100), 5);
  peer.send(frame(SETTINGS, 0, 0, setting(4, 24)));
  await peer.next((f) => f.type === SETTINGS);
  t.is(stream.capacity(), 20);
});

test('streams that wait for the connection window get their turns', async (t) => {
  const { connection, peer } = await startClient(t, {}, setting(4, 1 << 20));
  const order: number[] = [];
  const { bytes } = shared(Buffer.alloc(1 << 17));
  const streams = [0, 1, 2].map((index) => {
    const [stream] = openStream(connection, request('POST'));
    stream.setSink({
      capacity: () => 0,
      onData: () => 0,
      onEnd: () => undefined,
      onError: () => undefined,
      onWritable() {
        order.push(index);
        stream.write(bytes, 9, 1000);
        t.true(stream.write(bytes, 9, 1 << 17) < 1 << 17);
      },
    });
    return stream;
  });
  t.is(streams[0]?.write(bytes, 9, 1 << 17), 65_535);
  t.is(streams[1]?.write(bytes, 9, 1), 0);
  t.is(streams[2]?.capacity(), 0);
  for (let round = 0; round < 6; round++) {
    peer.send(frame(WINDOW_UPDATE, 0, 0, u32(1 << 14))); // a frame
    await peer.ping();
  }
  t.deepEqual(order, [1, 2, 0, 1, 2, 0], 'the first one has just sent');
});

test('DATA is split at the largest frame that the peer takes, and small writes are joined', async (t) => {
  const { connection, peer } = await startClient(t, {}, setting(4, 1 << 20));
  const [stream] = openStream(connection, request('POST'));
  const { bytes } = shared(Buffer.alloc(40_000));
  t.is(stream.write(bytes, 9, 40_000), 40_000);
  for (const length of [16_384, 16_384, 7232])
    t.is((await peer.next((f) => f.type === DATA)).payload.length, length);
  stream.write(bytes, 9, 10);
  stream.write(bytes, 9, 20);
  stream.end();
  t.is((await peer.next((f) => f.type === DATA)).payload.length, 10);
  const last = await peer.next((f) => f.type === DATA);
  t.deepEqual([last.payload.length, last.flags], [20, E], 'the end rides on the last DATA');
});

test('a payload without room in front of it is sent all the same', async (t) => {
  const { connection, peer } = await startClient(t);
  const [stream] = openStream(connection, request('POST'));
  const { bytes } = shared('abc'.repeat(10_000));
  t.is(stream.write(bytes, 0, 30_009), 30_009);
  const got = await peer.data(30_009);
  t.is(got.toString('latin1', 9), 'abc'.repeat(10_000));
});

test('keepalive asks after 10 s without input, and 20 s without an answer are the end', async (t) => {
  const clock = makeH2Clock();
  const { connection, peer, closed } = await startClient(t, { clock });
  const [, body, told] = openStream(connection);
  clock.advance(9000);
  await peer.ping();
  clock.advance(9000);
  t.deepEqual(
    peer.pending().filter(({ type }) => type === PING),
    [],
  );
  clock.advance(1000);
  const { payload } = await peer.next((f) => f.type === PING && f.flags === 0);
  peer.send(frame(PING, FLAG_ACK, 0, payload));
  await peer.ping();
  clock.advance(20_000);
  await peer.next((f) => f.type === PING && f.flags === 0);
  clock.advance(20_000);
  t.regex(String((await closed)?.message), /no answer to a PING within 20000 ms/);
  t.truthy(body.error);
  t.true(told.error?.processed);
  t.is(connection.activeStreams, 0);
});

test('a connection outlives that its own process stood still, if its peer has answered meanwhile', async (t) => {
  const clock = makeH2Clock();
  const { connection, peer, closed } = await startClient(t, { clock });
  openStream(connection);
  clock.advance(10_000);
  const { payload } = await peer.next((f) => f.type === PING && f.flags === 0);
  clock.advance(60_000);
  peer.send(frame(PING, FLAG_ACK, 0, payload));
  await peer.ping();
  clock.advance(1000);
  t.is(connection.activeStreams, 1);
  clock.advance(10_000);
  await peer.next((f) => f.type === PING && f.flags === 0);
  clock.advance(60_000);
  t.is(connection.activeStreams, 1);
  clock.advance(1000);
  t.regex(String((await closed)?.message), /no answer to a PING/);
});

test('a peer that never acknowledges our SETTINGS is left', async (t) => {
  const clock = makeH2Clock();
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const accepted = once(server, 'connection');
  const { port } = server.address() as net.AddressInfo;
  const transport = await connectTcp(socketAddress('127.0.0.1', port));
  Http2Connection.client(transport, { clock }, {});
  const [socket] = (await accepted) as [net.Socket];
  const peer = new RawPeer(socket, CLIENT_PREFACE.length);
  await peer.next((f) => f.type === SETTINGS);
  clock.advance(10_000);
  t.is(await peer.answer(), 'GOAWAY 4');
  await peer.untilEnd();
  clock.advance(1000);
  t.true(transport.closed, 'also when the peer does not end');
});
