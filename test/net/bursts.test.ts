import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setImmediate as nextRound, setTimeout as pause } from 'node:timers/promises';
import tls from 'node:tls';
import test, { type ExecutionContext } from 'ava';
import { parseIpAddress } from '../../base/address.ts';
import type { ByteStream } from '../../net/byte-stream.ts';
import { Http2Connection } from '../../net/h2/connection.ts';
import { connectTcp } from '../../net/tcp.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { acceptTls, connectTls } from '../../net/tls.ts';
import { TlsContext } from '../../net/tls-context.ts';
import { Collector } from '../support/collect.ts';
import { withDeadline } from '../support/deadline.ts';
import { ExpectedBytes } from '../support/tagged-bytes.ts';
import { openTcpWay } from '../support/tcp-way.ts';
import { makeTestCa } from '../support/test-ca.ts';

/*
 * Input that lies in the socket, in OpenSSL or in a queue of ours without anybody being told of it is a connection that
 * hangs, and the next input hides it. So messages come in bursts, of any size, with pauses and readers that stall, and
 * after each burst everything must have arrived before the next one begins.
 */

const BURSTS = 300;
/** Far beyond what a burst takes on a busy machine. */
const BURST_MS = 20_000;
/** More than OpenSSL asks the socket for at once. */
const LARGEST_BYTES = 400 << 10;

const loopback = parseIpAddress('127.0.0.1');
const ca = makeTestCa();
const clientCertificate = ca.issue('spiffe://cluster.local/ns/shop/sa/web');
const serverCertificate = ca.issue('spiffe://cluster.local/ns/shop/sa/cart');
/** One side of a connection, however it is made. */
interface End {
  readonly received: number;
  write(bytes: Buffer): Promise<void>;
  /** Takes only a few bytes more, until release(). */
  stall(bytes: number): void;
  release(): void;
  /** Resolves when so many bytes have come since the beginning. */
  until(bytes: number): Promise<void>;
  content(): Buffer;
}

function endOf(stream: ByteStream): End {
  const collector = new Collector(stream);
  return {
    get received() {
      return collector.received;
    },
    write: (bytes) => collector.write(bytes),
    stall(bytes) {
      collector.allowance = collector.received + bytes;
    },
    release() {
      collector.release();
    },
    until: (bytes) =>
      collector.until((one) => {
        if (one.error !== undefined) throw one.error;
        return one.received >= bytes;
      }),
    content: () => collector.data,
  };
}

function endOfNode(socket: tls.TLSSocket): End {
  const chunks: Buffer[] = [];
  let received = 0;
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    received += chunk.length;
  });
  return {
    get received() {
      return received;
    },
    async write(bytes) {
      if (!socket.write(bytes)) await once(socket, 'drain');
    },
    stall() {
      socket.pause();
    },
    release() {
      socket.resume();
    },
    async until(bytes) {
      while (received < bytes) await once(socket, 'data');
    },
    content: () => Buffer.concat(chunks),
  };
}

type Random = () => number;

/** Always the same numbers for a seed, from 0 to below 1; a linear congruential generator (Numerical Recipes). */
function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Mostly small, now and then more than one read brings. */
function messageBytes(random: Random): number {
  const most = [64, 2 << 10, 20 << 10, LARGEST_BYTES][Math.floor(random() ** 2 * 4)] ?? 1;
  return 1 + Math.floor(random() * most);
}

async function rest(random: Random): Promise<void> {
  const kind = random();
  if (kind < 0.4) return;
  if (kind < 0.9) await nextRound();
  else await pause(1);
}

async function sendBurst(from: End, content: ExpectedBytes, random: Random): Promise<void> {
  for (let messages = 1 + Math.floor(random() * 5); messages > 0; messages--) {
    await from.write(content.next(messageBytes(random)));
    await rest(random);
  }
}

async function stallNowAndThen(end: End, random: Random): Promise<void> {
  for (let left = Math.floor(random() * 4); left > 0; left--) {
    end.stall(Math.floor(random() * 3000));
    await rest(random);
    await rest(random);
    end.release();
    await rest(random);
  }
}

async function checkBursts(t: ExecutionContext, [left, right]: readonly [End, End]): Promise<void> {
  const seed = Math.floor(Math.random() * 2 ** 32);
  t.log(`seed ${seed}`);
  const random = randomFrom(seed);
  const endless = { nonce: seed, length: Number.MAX_SAFE_INTEGER };
  const [fromLeft, fromRight] = [new ExpectedBytes(endless, 0), new ExpectedBytes(endless, 1)];
  for (let burst = 0; burst < BURSTS; burst++) {
    const all = async (): Promise<void> => {
      await Promise.all([
        ...[left, right].map((end) => stallNowAndThen(end, random)),
        sendBurst(left, fromLeft, random),
        // Sometimes one side alone has something to say.
        ...(random() < 0.5 ? [] : [sendBurst(right, fromRight, random)]),
      ]);
      await Promise.all([right.until(fromLeft.done), left.until(fromRight.done)]);
    };
    const found = (): string =>
      `burst ${burst}: ${right.received} of ${fromLeft.done} and ${left.received} of ${fromRight.done} bytes`;
    await withDeadline(all(), BURST_MS, found);
  }
  t.is(new ExpectedBytes(endless, 0).check(right.content()), undefined);
  t.is(new ExpectedBytes(endless, 1).check(left.content()), undefined);
}

/** Our server; resolves with the stream of its first connection. */
function listen(
  t: ExecutionContext,
  open: (socket: Parameters<Parameters<typeof listenTcp>[1]>[0]) => Promise<ByteStream>,
): { port: number; accepted: Promise<ByteStream> } {
  const accepted = Promise.withResolvers<ByteStream>();
  const listener = listenTcp({ address: { ip: loopback, port: 0 } }, (socket) => {
    open(socket).then(accepted.resolve, accepted.reject);
  });
  t.teardown(() => {
    listener.close();
  });
  return { port: listener.local.port, accepted: accepted.promise };
}

const resetLater = (t: ExecutionContext, ...streams: ByteStream[]): void => {
  t.teardown(() => {
    for (const stream of streams) stream.reset();
  });
};

const nodeOptions = (
  certificate: typeof clientCertificate,
): tls.SecureContextOptions & tls.CommonConnectionOptions => ({
  key: certificate.privateKeyPem,
  cert: certificate.chainPem.join(''),
  ca: [...certificate.rootsPem],
  ALPNProtocols: ['h2'],
});

test('bursts over TLS arrive whole and at once', async (t) => {
  const { port, accepted } = listen(t, (socket) =>
    acceptTls(socket, new TlsContext(serverCertificate)),
  );
  const dialled = await connectTls(
    await connectTcp({ ip: loopback, port }),
    new TlsContext(clientCertificate),
  );
  const server = await accepted;
  resetLater(t, dialled, server);
  await checkBursts(t, [endOf(dialled), endOf(server)]);
});

test('bursts over plain TCP arrive whole and at once', async (t) => {
  const { port, accepted } = listen(t, (socket) => Promise.resolve(socket));
  const dialled = await connectTcp({ ip: loopback, port });
  const left = endOf(dialled);
  const server = await accepted;
  resetLater(t, dialled, server);
  await checkBursts(t, [left, endOf(server)]);
});

test('bursts from and to a client of node:tls arrive whole and at once', async (t) => {
  const { port, accepted } = listen(t, (socket) =>
    acceptTls(socket, new TlsContext(serverCertificate)),
  );
  const dialled = tls.connect({
    ...nodeOptions(clientCertificate),
    ...{ port, host: '127.0.0.1', checkServerIdentity: () => undefined },
  });
  t.teardown(() => dialled.destroy());
  await once(dialled, 'secureConnect');
  const server = await accepted;
  resetLater(t, server);
  await checkBursts(t, [endOfNode(dialled), endOf(server)]);
});

/** Of a record beside its content, with TLS 1.3: header, type of the content, tag. RFC 8446 section 5.2. */
const RECORD_OVERHEAD_BYTES = 5 + 1 + 16;
const MESSAGE_BYTES = 100;

/** Once closed, what a client sends is kept until it is let through. */
class Valve {
  #kept = Buffer.alloc(0);
  #open = true;
  #onward: Socket | undefined;
  #onKept: (() => void) | undefined;

  join(from: Socket, onward: Socket): void {
    this.#onward = onward.setNoDelay();
    onward.pipe(from);
    from.on('data', (chunk: Buffer) => {
      if (this.#open) onward.write(chunk);
      else this.#kept = Buffer.concat([this.#kept, chunk]);
      this.#onKept?.();
    });
  }

  close(): void {
    this.#open = false;
  }

  async untilKept(bytes: number): Promise<void> {
    while (this.#kept.length < bytes)
      await new Promise<void>((resolve) => {
        this.#onKept = resolve;
      });
  }

  /** In one segment. */
  async letThrough(bytes: number): Promise<void> {
    const part = this.#kept.subarray(0, bytes);
    this.#kept = this.#kept.subarray(bytes);
    await new Promise<void>((resolve) =>
      this.#onward?.write(part, () => {
        resolve();
      }),
    );
  }
}

test('a record that comes in two parts does not hide what comes with its second one', async (t) => {
  const { port, accepted } = listen(t, (socket) =>
    acceptTls(socket, new TlsContext(serverCertificate)),
  );
  const valve = new Valve();
  const way = await openTcpWay(t, port, (from, goOn) => {
    valve.join(from, goOn());
  });
  const client = tls.connect({
    ...nodeOptions(clientCertificate),
    ...{ port: way.port, host: '127.0.0.1', checkServerIdentity: () => undefined },
  });
  client.on('error', () => undefined);
  t.teardown(() => client.destroy());
  await once(client, 'secureConnect');
  const server = await accepted;
  resetLater(t, server);
  const end = endOf(server);
  client.write(Buffer.alloc(MESSAGE_BYTES));
  await end.until(MESSAGE_BYTES);
  valve.close();
  const recordBytes = MESSAGE_BYTES + RECORD_OVERHEAD_BYTES;
  // Within the header, behind it, within the content, before the last byte.
  for (const firstPart of [1, 4, 5, 6, recordBytes / 2, recordBytes - 1]) {
    const before = end.received;
    for (const messages of [1, 2]) {
      client.write(Buffer.alloc(MESSAGE_BYTES));
      await valve.untilKept(messages * recordBytes);
    }
    await valve.letThrough(firstPart);
    for (let rounds = 0; rounds < 10; rounds++) await nextRound(); // it is read, and is not enough
    await valve.letThrough(2 * recordBytes - firstPart);
    const whole = end.until(before + 2 * MESSAGE_BYTES);
    await withDeadline(
      whole,
      5_000,
      () => `first part of ${firstPart}: ${end.received - before} bytes`,
    );
  }
  t.pass();
});

test('bursts from and to a server of node:tls arrive whole and at once', async (t) => {
  const listener = tls.createServer({
    ...nodeOptions(serverCertificate),
    ...{ requestCert: true, rejectUnauthorized: true },
  });
  t.teardown(() => listener.close());
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const address = listener.address();
  if (address === null || typeof address === 'string') return t.fail();
  const accepting = once(listener, 'secureConnection') as Promise<[tls.TLSSocket]>;
  const dialled = await connectTls(
    await connectTcp({ ip: loopback, port: address.port }),
    new TlsContext(clientCertificate),
  );
  const [server] = await accepting;
  t.teardown(() => server.destroy());
  resetLater(t, dialled);
  await checkBursts(t, [endOf(dialled), endOfNode(server)]);
});

test('bursts through a tunnel of HTTP/2 over TLS arrive whole and at once', async (t) => {
  const { port, accepted } = listen(t, async (socket) => {
    const session = await acceptTls(socket, new TlsContext(serverCertificate));
    const { promise, resolve } = Promise.withResolvers<ByteStream>();
    Http2Connection.server(
      session,
      {},
      {
        onRequest(stream) {
          stream.respond([':status', '200']);
          resolve(stream);
        },
      },
    );
    return await promise;
  });
  const session = await connectTls(
    await connectTcp({ ip: loopback, port }),
    new TlsContext(clientCertificate),
  );
  const connection = Http2Connection.client(session, {}, {});
  t.teardown(() => {
    connection.close();
  });
  const tunnel = connection.openStream([':method', 'CONNECT', ':authority', '10.0.0.1:80'], {});
  if (tunnel === undefined) return t.fail();
  await checkBursts(t, [endOf(tunnel), endOf(await accepted)]);
});
