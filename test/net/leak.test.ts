import { setImmediate as nextRound } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { parseIpAddress } from '../../base/address.ts';
import { Http2Connection } from '../../net/h2/connection.ts';
import type { Http2Stream } from '../../net/h2/stream.ts';
import { connectTcp } from '../../net/tcp.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { acceptTls, connectTls } from '../../net/tls.ts';
import { TlsContext } from '../../net/tls-context.ts';
import type { TlsSession } from '../../net/tls-session.ts';
import { watchedDescriptors } from '../../net/reactor.ts';
import { Collector } from '../support/collect.ts';
import {
  collectGarbage,
  growthUntilFlat,
  medianGrowth,
  openDescriptors,
  privateDirtyBytes,
} from '../support/memory.ts';
import { makeTestCa } from '../support/test-ca.ts';

const ca = makeTestCa();
const certificate = ca.issue('spiffe://cluster.local/ns/shop/sa/web');
const stranger = makeTestCa().issue('spiffe://cluster.local/ns/shop/sa/web');
const address = { ip: parseIpAddress('127.0.0.1'), port: 0 };

const SESSIONS = 20_000;
const STREAMS = 100_000;
const COLLECT_EVERY = 1_000;
const AT_ONCE = 50;
/** The first part lets pools and caches grow to what they need. */
const SETTLED_FROM = 0.2;
const ALLOWED_BYTES = 2 << 20;

/** Runs `once` so often, in batches; fails when private memory grows over the last 80 %, and again when it goes on. */
async function runFlat(
  t: ExecutionContext,
  count: number,
  once: (index: number) => Promise<void>,
): Promise<void> {
  const stretch = async (times: number): Promise<number> => {
    const samples: number[] = [];
    for (let done = 0; done < times; ) {
      await Promise.all(Array.from({ length: AT_ONCE }, (_, index) => once(done + index)));
      done += AT_ONCE;
      if (done % COLLECT_EVERY !== 0) continue;
      await collectGarbage();
      if (done >= times * SETTLED_FROM) samples.push(privateDirtyBytes());
    }
    return medianGrowth(samples) / times;
  };
  const flatBytes = ALLOWED_BYTES / count;
  const growth = await growthUntilFlat((factor) => stretch(count * factor), flatBytes);
  const said = `private memory, bytes each: ${growth.map((bytes) => bytes.toFixed(1)).join(', ')}`;
  t.log(said);
  t.true((growth.at(-1) ?? Infinity) < flatBytes, said);
}

test.serial('20,000 mTLS sessions, ended in every way, leave nothing behind', async (t) => {
  t.timeout(300_000);
  let context = new TlsContext(certificate);
  const clientContext = new TlsContext(certificate);
  const strange = new TlsContext({ ...stranger, rootsPem: certificate.rootsPem });
  const accepted: ((session: Promise<TlsSession>) => void)[] = [];
  const listener = listenTcp({ address, backlog: 512 }, (stream) => {
    accepted.shift()?.(acceptTls(stream, context));
  });
  const before = openDescriptors();

  const once = async (index: number): Promise<void> => {
    if (index % 1000 === 0) {
      context.free();
      context = new TlsContext(certificate);
    }
    const server = new Promise<TlsSession>((resolve, reject) => {
      accepted.push((session) => {
        session.then(resolve, reject);
      });
    });
    server.catch(() => undefined);
    const below = await connectTcp({ ip: address.ip, port: listener.local.port });
    const way = index % 5;
    if (way === 4) {
      below.reset(); // gone before the handshake
      await server.catch(() => undefined);
      return;
    }
    const client = connectTls(below, way === 3 ? strange : clientContext);
    const ends = await Promise.allSettled([client, server]);
    const [ours, theirs] = ends.map((end) =>
      end.status === 'fulfilled' ? new Collector(end.value) : undefined,
    );
    if (ours === undefined) throw new Error('the client never fails at this point');
    if (theirs === undefined) {
      await ours.until((c) => c.error !== undefined); // the stranger hears of its refusal
      return;
    }
    await ours.write('ping');
    await theirs.until((c) => c.received === 4);
    if (way === 0) {
      ours.stream.end();
      await theirs.until((c) => c.ended);
      theirs.stream.end();
      await ours.until((c) => c.ended);
    } else if (way === 1) {
      ours.stream.reset();
      await theirs.until((c) => c.error !== undefined || c.ended);
      theirs.stream.reset();
    } else {
      theirs.stream.reset();
      await ours.until((c) => c.error !== undefined || c.ended);
      ours.stream.reset();
    }
  };
  await runFlat(t, SESSIONS, once);
  listener.close();
  for (const free of [context, clientContext, strange]) free.free();
  t.is(openDescriptors(), before - 1);
  t.is(watchedDescriptors(), 0);
});

test.serial('100,000 HTTP/2 streams, ended in every way, leave nothing behind', async (t) => {
  t.timeout(300_000);
  const context = new TlsContext(certificate);
  const ready = Promise.withResolvers<TlsSession>();
  const listener = listenTcp({ address }, (stream) => {
    acceptTls(stream, context).then(ready.resolve, ready.reject);
  });
  const tls = await connectTls(
    await connectTcp({ ip: address.ip, port: listener.local.port }),
    context,
  );
  const closed = Promise.withResolvers<undefined>();
  const server = Http2Connection.server(
    await ready.promise,
    {},
    {
      onRequest(stream, headers) {
        serveOneWay(stream, headers[3] ?? '');
      },
      onClose() {
        closed.resolve(undefined);
      },
    },
  );
  const client = Http2Connection.client(tls, {}, {});
  const once = async (index: number): Promise<void> => {
    const way = WAYS[index % WAYS.length] ?? '';
    const over = Promise.withResolvers<undefined>();
    const stream = client.openStream([':method', 'CONNECT', ':authority', way], {
      onError() {
        over.resolve(undefined);
      },
    });
    if (stream === undefined) throw new Error('no room for a stream');
    const collector = new Collector(stream);
    await collector.write('ping');
    if (way === 'client-resets') {
      await collector.until((c) => c.received === 4);
      stream.reset();
      return;
    }
    if (way === 'orderly') {
      await collector.until((c) => c.received === 4);
      stream.end();
      await collector.until((c) => c.ended);
      return;
    }
    await collector.until((c) => c.ended || c.error !== undefined);
    stream.end();
  };
  await runFlat(t, STREAMS, once);
  t.is(client.activeStreams, 0);
  client.close();
  await closed.promise;
  t.is(server.activeStreams, 0);
  listener.close();
  context.free();
  while (watchedDescriptors() > 0) await nextRound(); // the ends of both sides are on their way
  t.pass();
});

const WAYS = ['orderly', 'client-resets', 'server-resets', 'refused', 'unread'];

function serveOneWay(stream: Http2Stream, way: string): void {
  // Streams that nobody answered are not reset here: many of them are an attack, which ends the connection.
  if (way === 'refused') stream.respond([':status', '401'], { endStream: true });
  else {
    stream.respond([':status', '200']);
    if (way === 'server-resets') {
      stream.reset();
      return;
    }
    if (way === 'unread') {
      stream.end();
      return;
    }
    const echo = new Collector(stream);
    void echo
      .until((c) => c.received === 4 || c.error !== undefined)
      .then(() => echo.write('pong'))
      .then(() => echo.until((c) => c.ended || c.error !== undefined))
      .then(() => {
        stream.end();
      })
      .catch(() => undefined);
  }
}
