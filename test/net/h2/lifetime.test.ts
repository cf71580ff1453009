import { once, EventEmitter } from 'node:events';
import test, { type ExecutionContext } from 'ava';
import { socketAddress } from '../../../base/address.ts';
import { Http2Connection } from '../../../net/h2/connection.ts';
import type { Http2Stream } from '../../../net/h2/stream.ts';
import { connectTcp } from '../../../net/tcp.ts';
import { Collector, shared } from '../../support/collect.ts';
import { type H2Server, serveH2 } from '../../support/h2-peer.ts';
import { expectNoLeak, heapBytes } from '../../support/memory.ts';

/** Two words: the smallest thing that can be forgotten, and what refers to it. */
const LEAST_LEAK_BYTES = 16;

const tunnel = (authority: string): string[] => [':method', 'CONNECT', ':authority', authority];
/** A tunnel has no trailers, a request can. */
const post = (authority: string): string[] => [
  ...[':method', 'POST', ':authority', authority, ':scheme', 'http', ':path', '/'],
];

async function connect(t: ExecutionContext, server: H2Server): Promise<Http2Connection> {
  const transport = await connectTcp(socketAddress('127.0.0.1', server.port));
  const connection = Http2Connection.client(transport, {}, {});
  t.teardown(() => {
    connection.close();
  });
  return connection;
}

/** Answers, and sends back what it gets; the host of the authority says how it ends. */
function answer(stream: Http2Stream, headers: readonly string[]): void {
  const [how] = (headers[3] ?? '').split(':');
  if (how === 'refused') {
    stream.respond([':status', '503'], { endStream: true });
    return;
  }
  stream.respond([':status', '200']);
  stream.setSink({
    capacity: () => stream.capacity(),
    onData(bytes, offset, length) {
      if (how !== 'reset') return stream.write(bytes, offset, length);
      stream.reset();
      return length;
    },
    onEnd() {
      if (how === 'trailers') stream.sendTrailers(['x-end', '1']);
      else stream.end();
    },
    onError: () => undefined,
    onWritable() {
      stream.resume();
    },
  });
}

const { bytes: hello, length: helloLength } = shared('hello');

/** One tunnel, used and ended in its way; resolves when nothing is left of it. */
async function useTunnel(connection: Http2Connection, index: number): Promise<void> {
  const how = ['ended', 'reset', 'refused', 'cancelled', 'trailers'][index % 5] ?? '';
  const events = new EventEmitter();
  const stream = connection.openStream((how === 'trailers' ? post : tunnel)(`${how}:${index}`), {});
  if (stream === undefined) throw new Error('no stream');
  const done = once(events, 'done');
  stream.setSink({
    capacity: () => 1 << 20,
    onData(_bytes, _offset, length) {
      if (how === 'cancelled') {
        stream.reset();
        events.emit('done');
      } else stream.end();
      return length;
    },
    onEnd() {
      stream.end();
      events.emit('done');
    },
    onError() {
      events.emit('done');
    },
    onWritable: () => undefined,
  });
  stream.write(hello, 9, helloLength);
  await done;
}

async function useTunnels(connection: Http2Connection, count: number): Promise<void> {
  for (let index = 0; index < count; index += 50)
    await Promise.all(
      Array.from({ length: 50 }, async (_, step) => useTunnel(connection, index + step)),
    );
}

test.serial('20,000 streams, ended in every way, leave nothing behind', async (t) => {
  const server = serveH2(t, answer);
  const connection = await connect(t, server);
  const work = async (times: number): Promise<void> => useTunnels(connection, times);
  await expectNoLeak(t, work, { times: 10_000, flatBytes: LEAST_LEAK_BYTES });
  t.is(connection.activeStreams, 0);
  t.false(connection.closed);
});

test.serial('an idle connection is small', async (t) => {
  const server = serveH2(t, answer);
  const first = await connect(t, server);
  await useTunnels(first, 50);
  const before = await heapBytes();
  const count = 200;
  const connections: Http2Connection[] = [];
  for (let index = 0; index < count; index++) {
    const connection = await connect(t, server);
    await useTunnel(connection, 0);
    connections.push(connection);
  }
  // Both ends are here.
  const each = ((await heapBytes()) - before) / count / 2;
  t.log(`${Math.round(each)} bytes of heap for each end, its socket included`);
  t.true(each < 12 << 10, `${each} bytes`);
  t.is(connections.length, count);
});

test.serial('a stream carries a connection of its own', async (t) => {
  const inner: Http2Connection[] = [];
  const server = serveH2(t, (stream) => {
    stream.respond([':status', '200']);
    inner.push(
      Http2Connection.server(
        stream,
        {},
        {
          onRequest(request, headers) {
            answer(request, headers);
          },
        },
      ),
    );
  });
  const outer = await connect(t, server);
  const stream = outer.openStream(tunnel('gateway:15008'), {});
  const connection = Http2Connection.client(stream ?? t.fail(), {}, {});
  const exchange = connection.openStream(tunnel('ended:1'), {});
  const body = new Collector(exchange ?? t.fail());
  const sent = Buffer.alloc(8 << 20, 'abcdefg');
  await body.write(sent);
  exchange?.end();
  await body.until((c) => c.ended);
  t.true(body.data.equals(sent));
  connection.drain();
  await new Promise<void>((resolve) => {
    const look = (): void => {
      if (outer.activeStreams === 0) resolve();
      else setImmediate(look);
    };
    look();
  });
  t.true(inner[0]?.closed);
});
