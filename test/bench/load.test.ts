import test from 'ava';
import { runBulk } from '../../bench/load/bulk-client.ts';
import { HeldConnections, runConnections } from '../../bench/load/connection-client.ts';
import { runPingPong, runPings } from '../../bench/load/ping-client.ts';
import { runRequests } from '../../bench/load/request-client.ts';
import { Drain, Echo, Source } from '../../bench/load/sinks.ts';
import { runOpenLoop } from '../../bench/harness/open-loop.ts';
import { parseIpAddress } from '../../base/address.ts';
import type { SharedBytes } from '../../net/byte-stream.ts';
import { startHttp } from '../support/http1-peer.ts';
import { listenTcp, type TcpListener } from '../../net/tcp-listener.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';

const host = '127.0.0.1';

function listen(onAccept: (stream: TcpStream) => void): Disposable & Pick<TcpListener, 'local'> {
  const listener = listenTcp({ address: { ip: parseIpAddress(host), port: 0 } }, onAccept);
  return {
    local: listener.local,
    [Symbol.dispose]: () => {
      listener.close();
    },
  };
}

test('the open loop sends every request, none before it is due', async (t) => {
  const early: number[] = [];
  const seen: number[] = [];
  await runOpenLoop({
    ...{ rate: 500, count: 40 },
    send(index, intendedMs) {
      seen.push(index);
      const aheadMs = intendedMs - performance.now();
      if (aheadMs > 0) early.push(aheadMs);
    },
  });
  t.deepEqual(
    seen,
    Array.from({ length: 40 }, (_, index) => index),
  );
  t.deepEqual(early, []);
});

test('pings come back, and each latency counts from when it was due', async (t) => {
  using server = listen((stream) => new Echo(stream));
  const { port } = server.local;
  const closed = await runPingPong({ host, port, count: 50, bytes: 1024 });
  t.like(closed, { count: 50, errors: 0 });
  const open = await runPings({ host, port, connections: 4, rate: 1000, count: 100, bytes: 1024 });
  t.like(open, { count: 100, errors: 0 });
  t.true(open.p50Us > 0 && open.p99Us >= open.p50Us && open.maxUs >= open.p99Us);
});

const PING_BYTES = 64;

/** Stalls once, behind the 200 pings that warm it: whoever counts from the sending would see one late answer only. */
class StallingEcho extends Echo {
  readonly #stallMs: number;
  #bytes = 0;
  #stalled = false;

  constructor(stream: TcpStream, stallMs: number) {
    super(stream);
    this.#stallMs = stallMs;
  }

  override onData(bytes: SharedBytes, offset: number, length: number): number {
    const untilMs = performance.now() + this.#stallMs;
    // Not by calls: of a sender that is late several pings come in one.
    this.#bytes += length;
    if (!this.#stalled && this.#bytes >= 250 * PING_BYTES) {
      this.#stalled = true;
      while (performance.now() < untilMs);
    }
    return super.onData(bytes, offset, length);
  }
}

test('an answer that comes late makes the pings behind it late too', async (t) => {
  const stallMs = 60;
  using server = listen((stream) => new StallingEcho(stream, stallMs));
  const { port } = server.local;
  const found = await runPings({
    ...{ host, port, connections: 1, rate: 500, count: 100, bytes: PING_BYTES },
  });
  t.is(found.count, 100);
  t.true(found.maxUs >= stallMs * 1000, `${found.maxUs} us`);
});

test('bulk counts what each stream carried, in either direction', async (t) => {
  using source = listen((stream) => new Source(stream));
  using sink = listen((stream) => new Drain(stream));
  const plan = { host, streams: 2, stalled: 1, warmMs: 20, ms: 250 };
  for (const [direction, { port }] of [
    ['down', source.local],
    ['up', sink.local],
  ] as const) {
    const { bytes, ms } = await runBulk({ ...plan, direction, port });
    t.is(bytes.length, 2);
    // A timer may be up to a millisecond early, by another clock.
    t.true(ms > 249, `${direction}: ${ms} ms`);
    t.true(
      bytes.every((count) => count > 0),
      `${direction}: ${bytes.join()}`,
    );
  }
});

test('connections are opened, used and closed one after another, or held', async (t) => {
  let open = 0;
  using server = listen((stream) => {
    open++;
    new Echo(stream);
  });
  const { port } = server.local;
  const found = await runConnections({ host, port, parallel: 4, warmMs: 10, ms: 300 });
  t.is(found.errors, 0);
  t.true(found.count > 0 && open >= found.count);
  const held = new HeldConnections();
  t.deepEqual(await held.hold({ host, port, count: 40 }), { held: 40 });
  t.is(held.release(), 40);
});

test('a connection that cannot be made is an error, not a rate', async (t) => {
  const server = listen(() => undefined);
  const { port } = server.local;
  server[Symbol.dispose]();
  await t.throwsAsync(runConnections({ host, port, parallel: 1, warmMs: 0, ms: 20 }), {
    message: /Cannot connect/,
  });
});

for (const version of ['http1', 'http2'] as const)
  test(`requests by ${version} are answered, and what is no answer counts as an error`, async (t) => {
    let refused = 0;
    const server = startHttp(
      t,
      ({ exchange }) => {
        const status = refused-- > 0 ? '503' : '200';
        exchange.respond([':status', status], { endStream: true });
      },
      { version: 'detect' },
    );
    const ask = { host, port: server.port, version, connections: 4, rate: 1000, path: '/' };
    const answered = await runRequests({ ...ask, count: 100 });
    t.like(answered, { count: 100, errors: 0 });
    t.true(answered.p999Us >= answered.p50Us && answered.p50Us > 0);
    refused = 1000;
    t.like(await runRequests({ ...ask, count: 100 }), { count: 0, errors: 100 });
  });

test('a gRPC call is answered when its status is 0 too', async (t) => {
  const statuses = ['0', '13'];
  const server = startHttp(
    t,
    ({ exchange, headers }) => {
      t.is(headers[1], 'POST');
      exchange.respond([':status', '200', 'content-type', 'application/grpc']);
      exchange.sendTrailers(['grpc-status', statuses[0] ?? '']);
    },
    { version: 'detect' },
  );
  const ask = { host, port: server.port, version: 'http2', call: 'grpc', path: '/a.B/C' } as const;
  const plan = { ...ask, connections: 2, rate: 1000, count: 20 };
  t.like(await runRequests(plan), { count: 20, errors: 0 });
  statuses.shift();
  t.like(await runRequests(plan), { count: 0, errors: 20 });
});
