import test, { type ExecutionContext } from 'ava';
import { parseIpAddress } from '../../base/address.ts';
import type { ByteSink, ByteStream, SharedBytes } from '../../net/byte-stream.ts';
import { DATA } from '../../net/h2/frame.ts';
import { connectTcp } from '../../net/tcp.ts';
import { acceptTls, connectTls } from '../../net/tls.ts';
import { TlsContext } from '../../net/tls-context.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { ReplayedStream } from '../../waypoint/replayed-stream.ts';
import { Collector, shared } from '../support/collect.ts';
import { frame, headers, request } from '../support/h2-frames.ts';
import { RawPeer, serveH2 } from '../support/h2-peer.ts';
import { RawSocket, startHttp } from '../support/http1-peer.ts';
import { tcpPair } from '../support/tcp-pair.ts';
import { makeTestCa } from '../support/test-ca.ts';

const CONTENT = 'what is not taken at once is not lost';

/** A stream that has CONTENT as its input; the peer sends it when asked. */
type Source = (t: ExecutionContext) => Promise<{ stream: ByteStream; send: () => void }>;

const SOURCES: Readonly<Record<string, Source>> = {
  async 'a TCP socket'(t) {
    const { ours, theirs } = await tcpPair(t);
    return { stream: ours, send: () => theirs.write(CONTENT) };
  },

  async 'a TLS session'(t) {
    const ca = makeTestCa();
    const [one, other] = ['web', 'cart'].map(
      (name) => new TlsContext(ca.issue(`spiffe://cluster.local/ns/shop/sa/${name}`)),
    );
    if (one === undefined || other === undefined) throw new Error('no contexts');
    const accepted = Promise.withResolvers<ByteStream>();
    const ip = parseIpAddress('127.0.0.1');
    const listener = listenTcp({ address: { ip, port: 0 } }, (socket) => {
      accepted.resolve(acceptTls(socket, one));
    });
    const dialled = await connectTls(await connectTcp({ ip, port: listener.local.port }), other);
    const stream = await accepted.promise;
    t.teardown(() => {
      listener.close();
      dialled.reset();
      stream.reset();
    });
    return { stream, send: () => void new Collector(dialled).write(CONTENT) };
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
    return { stream, send };
  },

  async 'a body of HTTP/1.1'(t) {
    const arrived = Promise.withResolvers<ByteStream>();
    const { port } = startHttp(t, ({ exchange }) => {
      arrived.resolve(exchange);
    });
    const client = await RawSocket.connect(t, port);
    client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${CONTENT.length}\r\n\r\n`);
    const send = (): void => {
      client.send(CONTENT);
    };
    return { stream: await arrived.promise, send };
  },

  async 'a stream of which the beginning was read'(t) {
    const { ours } = await tcpPair(t);
    const { bytes } = shared(CONTENT);
    const stream = new ReplayedStream(ours, bytes, { end: bytes.buffer.length, ended: false });
    return { stream, send: () => undefined };
  },
};

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
}
