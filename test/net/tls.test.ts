import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { setImmediate as nextRound } from 'node:timers/promises';
import tls from 'node:tls';
import test, { type ExecutionContext } from 'ava';
import { resetSocket } from '../../base/reset-socket.ts';
import { parseIpAddress } from '../../base/address.ts';
import type { WorkloadCertificate } from '../../mesh/model/certificate.ts';
import { Canceller } from '../../net/canceller.ts';
import { connectTcp } from '../../net/tcp.ts';
import type { TcpStream } from '../../net/tcp-stream.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { acceptTls, connectTls } from '../../net/tls.ts';
import { POST_QUANTUM_GROUPS, TlsContext, type TlsContextOptions } from '../../net/tls-context.ts';
import type { TlsSession } from '../../net/tls-session.ts';
import { recordClientHello } from '../support/client-hello.ts';
import { Collector } from '../support/collect.ts';
import { makeTestCa } from '../support/test-ca.ts';

const ca = makeTestCa();
const client = ca.issue('spiffe://cluster.local/ns/shop/sa/web');
const server = ca.issue('spiffe://cluster.local/ns/shop/sa/cart');
const loopback = { ip: parseIpAddress('127.0.0.1'), port: 0 };

function contextOf(
  certificate: WorkloadCertificate,
  more: Partial<TlsContextOptions> = {},
): TlsContext {
  return new TlsContext({ ...certificate, ...more });
}

/** Node's options for one end of the same mesh. */
function nodeOptions(
  certificate: WorkloadCertificate,
): tls.SecureContextOptions & tls.CommonConnectionOptions {
  return {
    key: certificate.privateKeyPem,
    cert: certificate.chainPem.join(''),
    ca: [...certificate.rootsPem],
    ALPNProtocols: ['h2'],
    rejectUnauthorized: true,
    requestCert: true,
  };
}

/** Listens with our TLS; every accepted handshake, good or bad, comes out of next(). */
function serve(
  t: ExecutionContext,
  context: TlsContext,
): { port: number; next: () => Promise<TlsSession> } {
  const queue: Promise<TlsSession>[] = [];
  const waiting: ((session: Promise<TlsSession>) => void)[] = [];
  const listener = listenTcp({ address: loopback }, (stream) => {
    const session = acceptTls(stream, context);
    session.then(
      (open) => {
        t.teardown(() => {
          open.reset();
        });
      },
      () => undefined,
    );
    const waiter = waiting.shift();
    if (waiter) waiter(session);
    else queue.push(session);
  });
  t.teardown(() => {
    listener.close();
  });
  const next = async (): Promise<TlsSession> => {
    const first = queue.shift();
    return await (first ??
      new Promise<TlsSession>((resolve) =>
        waiting.push((s) => {
          resolve(s);
        }),
      ));
  };
  return { port: listener.local.port, next };
}

async function ourPair(
  t: ExecutionContext,
  serverContext: TlsContext,
  clientContext: TlsContext,
): Promise<[TlsSession, TlsSession]> {
  const { port, next } = serve(t, serverContext);
  const accepted = next();
  const dialled = connectTls(await connectTcp({ ip: loopback.ip, port }), clientContext);
  const pair = await Promise.all([accepted, dialled]);
  t.teardown(() => {
    for (const session of pair) session.reset();
  });
  return pair;
}

test('two ends prove each other, prefer a post-quantum group, and carry bytes both ways', async (t) => {
  const [a, b] = await ourPair(t, contextOf(server), contextOf(client));
  t.deepEqual(a.peerCertificate.uris, [client.identity]);
  t.deepEqual(b.peerCertificate.uris, [server.identity]);
  t.is(a.group, 'X25519MLKEM768');
  t.is(a.cipher, 'TLS_AES_128_GCM_SHA256');
  t.is(b.alpn, 'h2');
  t.is(b.peerChain().length, 2);
  const [left, right] = [new Collector(a), new Collector(b)];
  await left.write('from the server');
  await right.write('from the client');
  await Promise.all([left.until((c) => c.received === 15), right.until((c) => c.received === 15)]);
  t.is(left.text, 'from the client');
});

test('16 MiB arrive whole in both directions at once, with half-close', async (t) => {
  const [a, b] = await ourPair(t, contextOf(server), contextOf(client));
  const [left, right] = [new Collector(a), new Collector(b)];
  const payload = Buffer.alloc(16 << 20, 'the quick brown fox jumps over the lazy dog');
  await Promise.all([left, right].map((end) => end.write(payload)));
  a.end();
  await right.until((c) => c.ended);
  t.true(right.data.equals(payload));
  t.false(b.closed);
  b.end();
  await left.until((c) => c.ended);
  t.true(left.data.equals(payload));
  t.true(a.closed && b.closed);
});

test('a sink that stops taking stops the other end', async (t) => {
  const [a, b] = await ourPair(t, contextOf(server), contextOf(client));
  const [left, right] = [new Collector(a), new Collector(b)];
  right.allowance = 10_000;
  const payload = Buffer.alloc(24 << 20, '0123456789');
  const written = left.write(payload);
  await right.until((c) => c.received === 10_000);
  while (a.capacity() > 0) await nextRound();
  t.true(a.bytesWritten < payload.length);
  right.release();
  await written;
  await right.until((c) => c.received === payload.length);
  t.true(right.data.equals(payload));
});

test('a client of node:tls is served', async (t) => {
  const { port, next } = serve(t, contextOf(server));
  const accepted = next();
  const socket = tls.connect({
    port,
    ...nodeOptions(client),
    checkServerIdentity: () => undefined,
  });
  t.teardown(() => socket.destroy());
  await once(socket, 'secureConnect');
  const session = new Collector(await accepted);
  t.deepEqual((await accepted).peerCertificate.uris, [client.identity]);
  socket.write('ping');
  await session.until((c) => c.received === 4);
  await session.write('pong');
  t.is(String((await once(socket, 'data'))[0]), 'pong');
  socket.end();
  await session.until((c) => c.ended);
});

test('a server of node:tls is dialled', async (t) => {
  const listener = tls.createServer(nodeOptions(server), (socket) => socket.pipe(socket)).listen(0);
  t.teardown(() => listener.close());
  listener.on('connection', (socket) => {
    t.teardown(() => {
      socket.destroy();
    });
  });
  await once(listener, 'listening');
  const { port } = listener.address() as net.AddressInfo;
  const session = await connectTls(await connectTcp({ ip: loopback.ip, port }), contextOf(client));
  const collector = new Collector(session);
  await collector.write('echo');
  await collector.until((c) => c.received === 4);
  session.reset();
  t.is(collector.text, 'echo');
});

test('openssl s_client is served with TLS 1.3 and gets no ticket (T16)', async (t) => {
  const { port, next } = serve(t, contextOf(server, { alpn: [] }));
  const accepted = next();
  const { directory } = await writeFiles(t, client);
  const child = spawn('openssl', [
    's_client',
    '-connect',
    `127.0.0.1:${port}`,
    '-CAfile',
    `${directory}/ca.pem`,
    '-cert',
    `${directory}/cert.pem`,
    '-key',
    `${directory}/key.pem`,
    '-verify_return_error',
  ]);
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const session = new Collector(await accepted);
  await session.write('greetings');
  while (!output.includes('greetings')) await once(child.stdout, 'data');
  child.stdin.end();
  session.stream.end();
  await once(child, 'close');
  t.true(output.includes('Verify return code: 0 (ok)'));
  t.true(/TLSv1.3/.test(output));
  t.false(output.includes('New Session Ticket'));
});

test('a peer without the post-quantum group is met with X25519', async (t) => {
  const [a] = await ourPair(t, contextOf(server), contextOf(client, { groups: 'X25519' }));
  t.is(a.group, 'x25519');
});

test('where a post-quantum group is required, a peer without it is refused', async (t) => {
  const { port, next } = serve(t, contextOf(server, { groups: POST_QUANTUM_GROUPS }));
  const accepted = next();
  const dialled = connectTls(
    await connectTcp({ ip: loopback.ip, port }),
    contextOf(client, { groups: 'X25519' }),
  );
  await t.throwsAsync(dialled, { code: 'ERR_TLS_HANDSHAKE' });
  await t.throwsAsync(accepted, { code: 'ERR_TLS_HANDSHAKE' });
});

const refusals: [string, () => [WorkloadCertificate, WorkloadCertificate], RegExp][] = [
  ['an expired client', () => [server, ca.issue(client.identity, { ttlMs: -60_000 })], /expired/],
  [
    'a client that is not valid yet',
    () => [server, ca.issue(client.identity, { notBeforeInMs: 600_000 })],
    /not yet valid/,
  ],
  [
    'a client of another root',
    () => [server, makeTestCa().issue(client.identity)],
    /issuer|self-signed/,
  ],
  [
    'a client whose certificate is for servers only',
    () => [server, ca.issue(client.identity, { purposes: ['1.3.6.1.5.5.7.3.1'] })],
    /purpose|unsuitable/,
  ],
];

for (const [what, make, reason] of refusals)
  test(`a server refuses ${what}, with the reason`, async (t) => {
    const [ours, theirs] = make();
    const { port, next } = serve(t, contextOf(ours));
    const accepted = next();
    const dialled = connectTls(
      await connectTcp({ ip: loopback.ip, port }),
      contextOf({ ...theirs, rootsPem: ours.rootsPem }),
    );
    const error = await t.throwsAsync(accepted, { code: 'ERR_TLS_HANDSHAKE' });
    t.regex(error.message, reason);
    // The client's own handshake is over before it was judged: it hears of it with its first read.
    const collector = new Collector(await dialled);
    t.teardown(() => {
      collector.stream.reset();
    });
    await collector.until((c) => c.error !== undefined);
    t.false(collector.ended);
    t.like(collector.error, { code: 'ERR_TLS', side: 'upstream' });
  });

test('a client refuses a server of another root, with the reason', async (t) => {
  const { port, next } = serve(t, contextOf(makeTestCa().issue(server.identity)));
  const accepted = next();
  const dialled = connectTls(await connectTcp({ ip: loopback.ip, port }), contextOf(client));
  await t.throwsAsync(dialled, { code: 'ERR_TLS_HANDSHAKE', message: /certificate is refused/ });
  await t.throwsAsync(accepted, { code: 'ERR_TLS_HANDSHAKE' });
});

test('a server refuses a client without a certificate', async (t) => {
  const { port, next } = serve(t, contextOf(server));
  const accepted = next();
  const anonymous = { ca: [...client.rootsPem], ALPNProtocols: ['h2'] };
  const socket = tls.connect({ port, ...anonymous, checkServerIdentity: () => undefined });
  socket.on('error', () => undefined);
  await t.throwsAsync(accepted, { message: /did not return a certificate/ });
  socket.destroy();
});

for (const [what, options] of [
  ['TLS 1.2', { maxVersion: 'TLSv1.2' }],
  ['another protocol than h2', { ALPNProtocols: ['http/1.1'] }],
  ['no protocol at all', { ALPNProtocols: [] }],
] satisfies [string, tls.ConnectionOptions][])
  test(`a server refuses a client that offers ${what} (T13)`, async (t) => {
    const { port, next } = serve(t, contextOf(server));
    const accepted = next();
    const socket = tls.connect({
      port,
      ...nodeOptions(client),
      checkServerIdentity: () => undefined,
      ...options,
    });
    socket.on('error', () => undefined);
    await t.throwsAsync(accepted, { code: 'ERR_TLS_HANDSHAKE' });
    socket.destroy();
  });

test('a client that says nothing is cut off at the deadline', async (t) => {
  const outcome = new Promise<TlsSession>((resolve, reject) => {
    const listener = listenTcp({ address: loopback }, (stream) => {
      listener.close();
      acceptTls(stream, contextOf(server), { timeoutMs: 50 }).then(resolve, reject);
    });
    const socket = net.connect(listener.local.port, '127.0.0.1');
    socket.on('error', () => undefined);
    t.teardown(() => socket.destroy());
  });
  t.like(await t.throwsAsync(outcome), { code: 'ERR_TLS_TIMEOUT', side: 'downstream' });
});

for (const when of ['before', 'while'] as const)
  test(`a handshake that is cancelled ${when} it goes on is reset, and says why`, async (t) => {
    const canceller = new Canceller();
    const cause = new Error('the pod is gone');
    if (when === 'before') canceller.cancel(cause);
    const accepted = Promise.withResolvers<TcpStream>();
    const listener = listenTcp({ address: loopback }, accepted.resolve);
    const socket = net.connect(listener.local.port, '127.0.0.1');
    const broken = once(socket, 'error');
    const stream = await accepted.promise;
    listener.close();
    const outcome = t.throwsAsync(acceptTls(stream, contextOf(server), { canceller }));
    if (when === 'while') canceller.cancel(cause);
    t.like(await outcome, { code: 'ERR_ABORTED', cause });
    t.like((await broken)[0], { code: 'ECONNRESET' });
  });

test('junk instead of a handshake is refused', async (t) => {
  const { port, next } = serve(t, contextOf(server));
  const accepted = next();
  const socket = net.connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  socket.end('GET / HTTP/1.1\r\n\r\n');
  await t.throwsAsync(accepted, { code: 'ERR_TLS_HANDSHAKE' });
});

test('for a client that is gone before its turn comes no cryptography is done', async (t) => {
  const hello = await recordClientHello(nodeOptions(client));
  const accepted = Promise.withResolvers<TcpStream>();
  const listener = listenTcp({ address: loopback }, accepted.resolve);
  const socket = net.connect({ port: listener.local.port, host: '127.0.0.1', allowHalfOpen: true });
  socket.on('error', () => undefined);
  const closed = new Promise((resolve) => socket.once('close', resolve));
  let answered = 0;
  socket.on('data', ({ length }) => (answered += length));
  const stream = await accepted.promise;
  listener.close();
  await new Promise<void>((resolve) => {
    socket.end(hello, resolve);
  });
  const message = /the client was gone before it was answered$/;
  await t.throwsAsync(acceptTls(stream, contextOf(server)), { code: 'ERR_TLS_HANDSHAKE', message });
  await closed;
  t.is(answered, 0);
});

test('a connection cut without a TLS end is an error, not an end', async (t) => {
  const { port, next } = serve(t, contextOf(server));
  const accepted = next();
  const socket = net.connect(port, '127.0.0.1');
  const secure = tls.connect({
    socket,
    ...nodeOptions(client),
    checkServerIdentity: () => undefined,
  });
  await once(secure, 'secureConnect');
  const session = new Collector(await accepted);
  secure.write('half');
  await session.until((c) => c.received === 4);
  socket.destroy();
  await session.until((c) => c.error !== undefined || c.ended);
  t.false(session.ended);
});

test('a new context serves new sessions while old ones go on with the old certificate', async (t) => {
  const old = contextOf(server);
  const [a, b] = await ourPair(t, old, contextOf(client));
  old.free();
  const renewed = ca.issue(server.identity);
  const [, d] = await ourPair(t, contextOf(renewed), contextOf(client));
  t.notDeepEqual(d.peerChain(), b.peerChain());
  const [left, right] = [new Collector(a), new Collector(b)];
  await left.write('old one lives');
  await right.until((c) => c.received === 13);
  t.pass();
});

test('who ends last ends in order, also on a socket whose close was a reset', async (t) => {
  const accepted = Promise.withResolvers<TlsSession>();
  const listener = listenTcp({ address: loopback, abortive: true }, (stream) => {
    accepted.resolve(acceptTls(stream, contextOf(server)));
  });
  t.teardown(() => {
    listener.close();
  });
  const asking = new Collector(
    await connectTls(await connectTcp(listener.local), contextOf(client)),
  );
  const answering = new Collector(await accepted.promise);
  await asking.write('question');
  asking.stream.end();
  await answering.until((c) => c.ended || c.error !== undefined);
  await answering.write('answer');
  answering.stream.end();
  await asking.until((c) => c.ended || c.error !== undefined);
  t.is(asking.error, undefined);
  t.deepEqual([answering.text, asking.text], ['question', 'answer']);
});

test('TLS runs inside TLS', async (t) => {
  const [a, b] = await ourPair(t, contextOf(server), contextOf(client));
  const inner = ca.issue('spiffe://cluster.local/ns/far/sa/inner');
  const [outerServer, outerClient] = [
    acceptTls(a, contextOf(inner)),
    connectTls(b, contextOf(client)),
  ];
  const [c, d] = await Promise.all([outerServer, outerClient]);
  t.deepEqual(d.peerCertificate.uris, [inner.identity]);
  const [left, right] = [new Collector(c), new Collector(d)];
  const payload = Buffer.alloc(4 << 20, 'tunnel in a tunnel');
  await Promise.all([left.write(payload), right.write(payload)]);
  c.end();
  await right.until((end) => end.ended);
  d.end();
  await left.until((end) => end.ended);
  t.true(left.data.equals(payload) && right.data.equals(payload));
});

test('secrets are logged only where the context says so, and then openssl format lines come', async (t) => {
  const lines: string[] = [];
  await ourPair(t, contextOf(server, { onKeyLog: (line) => lines.push(line) }), contextOf(client));
  t.true(lines.some((line) => line.startsWith('CLIENT_TRAFFIC_SECRET_0 ')));
});

for (const [what, broken] of [
  ['a key of another certificate', { privateKeyPem: client.privateKeyPem }],
  ['a text that is no certificate', { chainPem: ['-----BEGIN NOTHING-----'] }],
  ['a text that is no key', { privateKeyPem: 'nothing' }],
  ['a broken root', { rootsPem: [(server.rootsPem[0] ?? '').replace('MII', 'XXX')] }],
] satisfies [string, Partial<WorkloadCertificate>][])
  test(`TlsContext refuses ${what}`, (t) => {
    t.throws(() => contextOf({ ...server, ...broken }), { code: 'ERR_CERTIFICATE' });
  });

async function writeFiles(
  t: ExecutionContext,
  certificate: WorkloadCertificate,
): Promise<{ directory: string }> {
  const { mkdtemp, writeFile, rm } = await import('node:fs/promises');
  const { tmpdir } = await import('node:os');
  const directory = await mkdtemp(`${tmpdir()}/halo-tls-`);
  t.teardown(() => rm(directory, { recursive: true }));
  await writeFile(`${directory}/ca.pem`, certificate.rootsPem.join(''));
  await writeFile(`${directory}/cert.pem`, certificate.chainPem.join(''));
  await writeFile(`${directory}/key.pem`, certificate.privateKeyPem);
  return { directory };
}

/** A client of Node's with a session of ours, over a socket that the test may break. */
async function nodeClient(
  t: ExecutionContext,
): Promise<{ session: TlsSession; secure: tls.TLSSocket; socket: net.Socket }> {
  const { port, next } = serve(t, contextOf(server));
  const accepted = next();
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const secure = tls.connect({
    socket,
    ...nodeOptions(client),
    checkServerIdentity: () => undefined,
  });
  for (const each of [socket, secure]) each.on('error', () => undefined);
  t.teardown(() => socket.destroy());
  await once(secure, 'secureConnect');
  return { session: await accepted, secure, socket };
}

test('an end that comes with bytes which the sink leaves for later is told behind them', async (t) => {
  const { session, secure } = await nodeClient(t);
  const collector = new Collector(session);
  collector.capacity = () => 1 << 20; // as a socket does, which does not know how much it will take
  collector.allowance = 4;
  secure.end('half and half');
  await collector.until((c) => c.received === 4);
  session.end(); // both directions have ended now, but for what waits
  await nextRound();
  t.false(collector.ended);
  collector.release();
  await collector.until((c) => c.ended || c.error !== undefined);
  t.is(collector.text, 'half and half');
  t.true(session.closed);
});

test('a reset after the peer’s end is told, though nothing is left to read', async (t) => {
  const { session, secure, socket } = await nodeClient(t);
  const collector = new Collector(session);
  const finished = once(secure, 'finish');
  secure.end('question');
  await collector.until((c) => c.ended);
  t.is(collector.error, undefined);
  await finished; // while the end of TCP is being sent, nothing can be reset; see resetSocket()
  resetSocket(socket);
  await collector.until((c) => c.error !== undefined);
  t.is(collector.text, 'question');
  t.true(session.closed);
});

test('a reset reaches a sink that takes nothing', async (t) => {
  const { session, secure, socket } = await nodeClient(t);
  const collector = new Collector(session);
  collector.allowance = 0;
  await new Promise((resolve) => secure.write('unread', resolve));
  resetSocket(socket);
  await collector.until((c) => c.error !== undefined);
  t.is(collector.received, 0);
});
