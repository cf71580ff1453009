import { Client, credentials, type ClientDuplexStream } from '@grpc/grpc-js';
import { once } from 'node:events';
import test from 'ava';
import { serveH2 } from '../../support/h2-peer.ts';

const CALLS = 5_000;
const AT_ONCE = 100;
const MESSAGES = 2_000;
const BYTES = 1_000;
/** As often as a client can be told to ask whether we live. */
const KEEPALIVE_MS = 10;

/** A message as it is. */
const same = (bytes: Buffer): Buffer => bytes;

test('a client of gRPC under load is never taken for a flood', async (t) => {
  const server = serveH2(t, (stream) => {
    stream.respond([':status', '200', 'content-type', 'application/grpc']);
    stream.setSink({
      capacity: () => stream.capacity(),
      onData: (bytes, offset, length) => stream.write(bytes, offset, length),
      onEnd() {
        stream.sendTrailers(['grpc-status', '0']);
      },
      onError: () => undefined,
      onWritable() {
        stream.resume();
      },
    });
  });
  const client = new Client(`127.0.0.1:${server.port}`, credentials.createInsecure(), {
    'grpc.keepalive_time_ms': KEEPALIVE_MS,
    'grpc.keepalive_permit_without_calls': 1,
  });
  t.teardown(() => {
    client.close();
  });
  const message = Buffer.alloc(BYTES, 'm');
  const call = (): Promise<Buffer> =>
    new Promise((resolve, reject) => {
      client.makeUnaryRequest('/a.B/C', same, same, message, (error, answer) => {
        if (error !== null) reject(error);
        else resolve(answer ?? Buffer.alloc(0));
      });
    });
  for (let done = 0; done < CALLS; done += AT_ONCE)
    for (const answer of await Promise.all(Array.from({ length: AT_ONCE }, call)))
      t.deepEqual(answer, message);

  // Small messages of many streams, each an answer: frames, windows and pings of all of them in one connection.
  const streams = Array.from({ length: 10 }, () =>
    client.makeBidiStreamRequest('/a.B/D', same, same),
  );
  await Promise.all(
    streams.map(async (stream: ClientDuplexStream<Buffer, Buffer>) => {
      let answers = 0;
      stream.on('data', () => answers++);
      const ended = once(stream, 'end');
      for (let sent = 0; sent < MESSAGES; sent++)
        if (!stream.write(message)) await once(stream, 'drain');
      stream.end();
      await ended;
      t.is(answers, MESSAGES);
    }),
  );
  t.is(server.connections.length, 1, 'none was ended');
});
