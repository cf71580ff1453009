import { setImmediate as nextRound } from 'node:timers/promises';
import test from 'ava';
import { socketAddress } from '../../../base/address.ts';
import { Http2Connection } from '../../../net/h2/connection.ts';
import { DATA, FLAG_ACK, FLAG_END_STREAM, GOAWAY, PING } from '../../../net/h2/frame.ts';
import { RECEIVE_QUEUES_BYTES, START_WINDOW_BYTES } from '../../../net/h2/limits.ts';
import type { Http2Stream } from '../../../net/h2/stream.ts';
import { connectTcp } from '../../../net/tcp.ts';
import { Collector, shared } from '../../support/collect.ts';
import { frame, headers, request } from '../../support/h2-frames.ts';
import { RawPeer, serveH2 } from '../../support/h2-peer.ts';

const MEBIBYTE = 1 << 20;

/** Sends `bytes` in all as soon as there is room, then the end. */
function pour(stream: Http2Stream, bytes: number): void {
  const push = (): void => {
    while (stream.bytesWritten < bytes)
      if (stream.write(mebibyte, 9, Math.min(MEBIBYTE, bytes - stream.bytesWritten)) === 0) return;
    stream.end();
  };
  stream.setSink({
    capacity: () => MEBIBYTE,
    onData: (_bytes, _offset, length) => length,
    onEnd: () => undefined,
    onError: () => undefined,
    onWritable: push,
  });
  push();
}

const mebibyte = shared(Buffer.alloc(MEBIBYTE)).bytes;

for (const [what, taken, heldBytes] of [
  ['never read hold 256 KiB each', 0, 24 * START_WINDOW_BYTES],
  ['stop after they have kept up hold no more than the cap', 3 * MEBIBYTE, RECEIVE_QUEUES_BYTES],
] as const)
  test(`readers that ${what}, others of their connection go on, and they get all in the end`, async (t) => {
    const readers: Collector[] = [];
    const server = serveH2(t, (stream) => {
      stream.respond([':status', '200']);
      const reader = new Collector(stream);
      if (readers.length < 24) reader.allowance = taken;
      readers.push(reader);
    });
    const transport = await connectTcp(socketAddress('127.0.0.1', server.port));
    const connection = Http2Connection.client(transport, {}, {});
    t.teardown(() => {
      connection.close();
    });
    const each = 8 * MEBIBYTE;
    const stalled = Array.from({ length: 24 }, () => {
      const stream = connection.openStream(request('POST'), {}) ?? t.fail();
      pour(stream, each);
      return stream;
    });
    const held = (): number =>
      stalled.reduce((sum, { bytesWritten }) => sum + bytesWritten - taken, 0);
    // Until nothing moves any more.
    for (let still = 0, last = -1; still < 200; ) {
      await nextRound();
      still = held() === last ? still + 1 : 0;
      last = held();
    }
    t.true(held() > 0 && held() <= heldBytes, `${held()} bytes`);
    const other = connection.openStream(request('POST'), {}) ?? t.fail();
    pour(other, each);
    while (readers.length < 25) await nextRound();
    await readers[24]?.until((c) => c.received === each && c.ended);
    for (const reader of readers) reader.release();
    for (const reader of readers) await reader.until((c) => c.ended);
    t.true(readers.every(({ received }) => received === each));
  });

test('single bytes that nobody reads take no more memory than they are', async (t) => {
  const readers: Collector[] = [];
  const server = serveH2(t, (stream) => {
    stream.respond([':status', '200']);
    const reader = new Collector(stream);
    reader.allowance = 0;
    readers.push(reader);
  });
  const peer = await RawPeer.connect(server.port);
  await peer.begin();
  peer.send(headers(1, 0, ...request('POST')));
  const count = 100_000;
  const before = process.memoryUsage().heapUsed;
  peer.send(...Array.from({ length: count }, () => frame(DATA, 0, 1, Buffer.from('x'))));
  await peer.ping();
  globalThis.gc?.();
  t.true(process.memoryUsage().heapUsed - before < 4 * MEBIBYTE);
  readers[0]?.release();
  await readers[0]?.until((c) => c.received === count);
  peer.socket.destroy();
  t.pass();
});

test('a draining server says so, serves what is on its way, and names its last stream', async (t) => {
  const streams: Http2Stream[] = [];
  const server = serveH2(t, (stream) => {
    streams.push(stream);
  });
  const peer = await RawPeer.connect(server.port);
  await peer.begin();
  peer.send(headers(1, FLAG_END_STREAM, ...request()));
  await peer.ping();
  server.connections[0]?.drain();
  server.connections[0]?.drain();
  const first = await peer.next((f) => f.type === GOAWAY);
  t.deepEqual([first.payload.readUInt32BE(0), first.payload.readUInt32BE(4)], [0x7fffffff, 0]);
  const { payload } = await peer.next((f) => f.type === PING);
  peer.send(headers(3, FLAG_END_STREAM, ...request()), frame(PING, FLAG_ACK, 0, payload));
  const second = await peer.next((f) => f.type === GOAWAY);
  t.deepEqual([second.payload.readUInt32BE(0), second.payload.readUInt32BE(4)], [3, 0]);
  peer.send(headers(5, FLAG_END_STREAM, ...request()));
  await peer.ping();
  t.deepEqual(
    streams.map(({ id }) => id),
    [1, 3],
  );
  for (const stream of streams) stream.respond([':status', '200'], { endStream: true });
  t.is(await peer.answer(), 'HEADERS 1 200');
  t.is(await peer.answer(), 'HEADERS 3 200');
  await server.untilClosed();
  t.deepEqual(server.closed, [undefined]);
  await peer.untilEnd();
});
