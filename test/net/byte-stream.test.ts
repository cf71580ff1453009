import { setImmediate as nextTurn } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { parseIpAddress } from '../../base/address.ts';
import { resetSocket } from '../../base/reset-socket.ts';
import type { ByteSink, ByteStream, SharedBytes } from '../../net/byte-stream.ts';
import { CANCEL } from '../../net/h2/errors.ts';
import { DATA, RST_STREAM } from '../../net/h2/frame.ts';
import { connectTcp } from '../../net/tcp.ts';
import { acceptTls, connectTls } from '../../net/tls.ts';
import { TlsContext } from '../../net/tls-context.ts';
import type { TlsSession } from '../../net/tls-session.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { ReplayedStream } from '../../waypoint/replayed-stream.ts';
import { Collector, shared } from '../support/collect.ts';
import { frame, headers, request, u32 } from '../support/h2-frames.ts';
import { RawPeer, serveH2 } from '../support/h2-peer.ts';
import { RawSocket, startHttp } from '../support/http1-peer.ts';
import { tcpPair } from '../support/tcp-pair.ts';
import { makeTestCa } from '../support/test-ca.ts';

const CONTENT = 'what is not taken at once is not lost';

/** A stream that has CONTENT as its input; the peer sends it when asked, and breaks the stream when asked. */
type Source = (
  t: ExecutionContext,
) => Promise<{ stream: ByteStream; send: () => void; break: () => void | Promise<void> }>;

const SOURCES: Readonly<Record<string, Source>> = {
  async 'a TCP socket'(t) {
    const { ours, theirs } = await tcpPair(t);
    return {
      stream: ours,
      send: () => theirs.write(CONTENT),
      break() {
        resetSocket(theirs);
      },
    };
  },

  async 'a TLS session'(t) {
    const { stream, dialled } = await tlsPair(t);
    return {
      stream,
      send: () => void new Collector(dialled).write(CONTENT),
      break() {
        dialled.reset();
      },
    };
  },

  async 'a TLS session inside another'(t) {
    const { stream: below, dialled: above, contexts } = await tlsPair(t);
    const [accepted, connected] = [
      acceptTls(below, contexts.server),
      connectTls(above, contexts.client),
    ];
    const [stream, dialled] = await Promise.all([accepted, connected]);
    return {
      stream,
      send: () => void new Collector(dialled).write(CONTENT),
      async break() {
        above.reset();
        while (!stream.closed) await nextTurn();
      },
    };
  },

  async 'a stream of HTTP/2'(t) {
    const arrived = Promise.withResolvers<ByteStream>();
    const server = serveH2(t, arrived.resolve);
    const peer = await RawPeer.connect(server.port);
    t.teardown(() => peer.socket.destroy());
    await peer.begin();
    peer.send(headers(1, 0, ...request('POST')));
    const stream = await arrived.promise;
    const send = (): void => {
      peer.send(frame(DATA, 0, 1, Buffer.from(CONTENT)));
    };
    return {
      stream,
      send,
      async break() {
        peer.send(frame(RST_STREAM, 0, 1, u32(CANCEL)));
        await peer.ping();
      },
    };
  },

  async 'a body of HTTP/1.1'(t) {
    const arrived = Promise.withResolvers<ByteStream>();
    const broken = Promise.withResolvers<undefined>();
    const { port } = startHttp(t, ({ exchange }) => {
      exchange.setHandler({
        onError() {
          broken.resolve(undefined);
        },
      });
      arrived.resolve(exchange);
    });
    const client = await RawSocket.connect(t, port);
    client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${CONTENT.length}\r\n\r\n`);
    const send = (): void => {
      client.send(CONTENT);
    };
    return {
      stream: await arrived.promise,
      send,
      break: () => {
        resetSocket(client.socket);
        return broken.promise;
      },
    };
  },

  async 'a stream of which the beginning was read'(t) {
    const { ours, theirs } = await tcpPair(t);
    const { bytes } = shared(CONTENT);
    const stream = new ReplayedStream(ours, bytes, { end: bytes.buffer.length, ended: false });
    return {
      stream,
      send: () => undefined,
      break() {
        resetSocket(theirs);
      },
    };
  },
};

type TlsPair = Readonly<{
  stream: TlsSession;
  dialled: TlsSession;
  contexts: { server: TlsContext; client: TlsContext };
}>;

async function tlsPair(t: ExecutionContext): Promise<TlsPair> {
  const ca = makeTestCa();
  const contextOf = (name: string): TlsContext =>
    new TlsContext(ca.issue(`spiffe://cluster.local/ns/shop/sa/${name}`));
  const contexts = { server: contextOf('web'), client: contextOf('cart') };
  const accepted = Promise.withResolvers<TlsSession>();
  const ip = parseIpAddress('127.0.0.1');
  const listener = listenTcp({ address: { ip, port: 0 } }, (socket) => {
    accepted.resolve(acceptTls(socket, contexts.server));
  });
  const below = await connectTcp({ ip, port: listener.local.port });
  const dialled = await connectTls(below, contexts.client);
  const stream = await accepted.promise;
  t.teardown(() => {
    listener.close();
    dialled.reset();
    stream.reset();
  });
  return { stream, dialled, contexts };
}

/** Takes a little of what it is given, after a call of the test's. */
class TakingLittle implements ByteSink {
  readonly #most: number;
  readonly #before: () => void;
  readonly #events = Promise.withResolvers<undefined>();
  text = '';
  readonly whole = this.#events.promise;

  constructor(most: number, before: () => void) {
    this.#most = most;
    this.#before = before;
  }

  capacity(): number {
    return 1 << 20;
  }

  onData({ buffer }: SharedBytes, offset: number, length: number): number {
    this.#before();
    const taken = Math.min(length, this.#most);
    this.text += buffer.toString('latin1', offset, offset + taken);
    if (this.text.length === CONTENT.length) this.#events.resolve(undefined);
    return taken;
  }

  onEnd(): void {
    // None comes.
  }

  onError(): void {
    // None comes.
  }

  onWritable(): void {
    // Nothing is written.
  }
}

for (const [name, source] of Object.entries(SOURCES)) {
  test(`${name} goes on for a sink that asked for more before it said how little it takes`, async (t) => {
    const { stream, send } = await source(t);
    const sink = new TakingLittle(5, () => {
      stream.resume();
    });
    stream.setSink(sink);
    send();
    await sink.whole;
    t.is(sink.text, CONTENT);
  });

  test(`${name} gives the rest to the sink that takes another’s place while that is given something`, async (t) => {
    const { stream, send } = await source(t);
    let second: Collector | undefined;
    const replaced = Promise.withResolvers<Collector>();
    const first = new TakingLittle(5, () => {
      second = new Collector(stream);
      replaced.resolve(second);
    });
    stream.setSink(first);
    send();
    const rest = await replaced.promise;
    await rest.until((c) => c.received === CONTENT.length - 5);
    t.is(first.text + rest.text, CONTENT);
  });

  test(`${name} that broke tells so to a sink that comes later, and is closed`, async (t) => {
    const { stream, break: breakOff } = await source(t);
    t.false(stream.closed);
    await breakOff();
    const sink = new Collector(stream);
    await sink.until((c) => c.error !== undefined);
    t.false(sink.ended);
    t.true(stream.closed);
  });
}
