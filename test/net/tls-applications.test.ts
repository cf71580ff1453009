import { once } from 'node:events';
import tls from 'node:tls';
import test, { type ExecutionContext } from 'ava';
import { parseIpAddress } from '../../base/address.ts';
import { describeNames, hasName, matchesHost } from '../../net/certificate-names.ts';
import { connectTcp } from '../../net/tcp.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { acceptTls, connectTls, type TlsOptions } from '../../net/tls.ts';
import { TlsContext, type TlsContextOptions } from '../../net/tls-context.ts';
import type { TlsSession } from '../../net/tls-session.ts';
import { Collector } from '../support/collect.ts';
import { makeTestCa, type TestCertificateOptions } from '../support/test-ca.ts';

const ca = makeTestCa();
const IDENTITY = 'spiffe://cluster.local/ns/shop/sa/cart';
const loopback = parseIpAddress('127.0.0.1');

const NOBODY = { chainPem: [], privateKeyPem: '' };

function client(options: Partial<TlsContextOptions> = {}): TlsContext {
  return new TlsContext({
    ...NOBODY,
    ...{ rootsPem: [ca.rootPem], alpn: ['http/1.1'], alpnOptional: true },
    ...{ minimumVersion: 'TLS 1.2', acceptsPartialChains: true },
    ...options,
  });
}

/** A server of node:tls that answers with what it saw. */
async function serveNode(
  t: ExecutionContext,
  odd: TestCertificateOptions,
  options: tls.TlsOptions = {},
): Promise<number> {
  const { chainPem, privateKeyPem } = ca.issue(IDENTITY, odd);
  const server = tls.createServer(
    { cert: chainPem.join(''), key: privateKeyPem, ...options },
    (socket) => {
      socket.on('error', () => undefined);
      const peer = socket.getPeerCertificate().subjectaltname ?? 'nobody';
      const { servername, alpnProtocol } = socket as tls.TLSSocket & { servername: unknown };
      socket.end(JSON.stringify([socket.getProtocol(), servername, alpnProtocol, peer]));
    },
  );
  server.on('tlsClientError', () => undefined).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return (server.address() as { port: number }).port;
}

async function dial(
  t: ExecutionContext,
  port: number,
  context: TlsContext,
  options: TlsOptions = {},
): Promise<TlsSession> {
  const session = await connectTls(await connectTcp({ ip: loopback, port }), context, options);
  t.teardown(() => {
    session.reset();
  });
  return session;
}

async function hear(session: TlsSession): Promise<unknown> {
  const collector = new Collector(session);
  await collector.until((c) => c.ended);
  return JSON.parse(collector.text) as unknown;
}

const NAMED = { uris: [], dnsNames: ['cart.example.com', '*.shop.example.com'] };

test('a server of TLS 1.2 or 1.3 is asked for by name, and shows its names', async (t) => {
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const port = await serveNode(t, NAMED, { minVersion: version, maxVersion: version });
    const session = await dial(t, port, client(), { serverName: 'cart.example.com' });
    t.deepEqual(session.peerCertificate.dnsNames, NAMED.dnsNames);
    t.true(hasName(session.peerCertificate, 'cart.example.com'));
    t.false(hasName(session.peerCertificate, 'other.example.com'));
    t.deepEqual(await hear(session), [version, 'cart.example.com', false, 'nobody']);
  }
});

test('a client that wants TLS 1.3 alone does not go below it', async (t) => {
  const port = await serveNode(t, NAMED, { maxVersion: 'TLSv1.2' });
  await t.throwsAsync(dial(t, port, client({ minimumVersion: 'TLS 1.3' })), {
    code: 'ERR_TLS_HANDSHAKE',
    message: /protocol version/,
  });
});

test('a protocol that is wanted must be agreed on, unless none is as good', async (t) => {
  const plain = await serveNode(t, NAMED);
  const both = await serveNode(t, NAMED, { ALPNProtocols: ['h2', 'http/1.1'] });
  t.is((await dial(t, both, client())).alpn, 'http/1.1');
  t.is((await dial(t, plain, client())).alpn, '');
  await t.throwsAsync(dial(t, plain, client({ alpn: ['h2'], alpnOptional: false })), {
    message: /did not agree to speak h2/,
  });
});

test('a certificate of another CA, or one that has expired, is refused', async (t) => {
  const port = await serveNode(t, NAMED);
  const stranger = client({ rootsPem: [makeTestCa().rootPem] });
  await t.throwsAsync(dial(t, port, stranger), { message: /certificate is refused: .*issuer/ });
  const expired = await serveNode(t, { ...NAMED, ttlMs: -60_000 });
  await t.throwsAsync(dial(t, expired, client()), { message: /certificate has expired/ });
  await t.throwsAsync(dial(t, port, client({ rootsPem: [] })), { message: /refused/ });
});

test('a leaf among the roots is trusted as such, and nothing else is by it', async (t) => {
  const { chainPem, privateKeyPem } = ca.issue(IDENTITY, NAMED);
  const pinned = client({ rootsPem: chainPem });
  const port = await serveNode(t, NAMED, { cert: chainPem.join(''), key: privateKeyPem });
  t.true(hasName((await dial(t, port, pinned)).peerCertificate, 'a.shop.example.com'));
  await t.throwsAsync(dial(t, await serveNode(t, NAMED), pinned), { message: /refused/ });
  const strict = client({ rootsPem: chainPem, acceptsPartialChains: false });
  await t.throwsAsync(dial(t, port, strict), { message: /refused/ });
});

test('without verification, whoever answers is spoken to', async (t) => {
  const port = await serveNode(t, { ...NAMED, ttlMs: -60_000 });
  const session = await dial(t, port, client({ rootsPem: [], verifiesPeers: false }));
  t.is(((await hear(session)) as unknown[])[0], 'TLSv1.3');
});

test('a client shows its certificate to a server that asks, and hears when it has none', async (t) => {
  const asking = { requestCert: true, rejectUnauthorized: true, ca: [ca.rootPem] };
  const port = await serveNode(t, NAMED, asking);
  const identity = ca.issue('spiffe://cluster.local/ns/shop/sa/web');
  const { chainPem, privateKeyPem } = identity;
  const session = await dial(t, port, client({ chainPem, privateKeyPem }));
  t.is(((await hear(session)) as unknown[])[3], `URI:${identity.identity}`);
  const refused = new Collector(await dial(t, port, client()));
  await refused.until((c) => c.error !== undefined);
  t.regex(refused.error?.message ?? '', /certificate required/);
});

test('a server knows what name it was asked for, in both versions', async (t) => {
  const { chainPem, privateKeyPem } = ca.issue(IDENTITY, NAMED);
  const context = new TlsContext({
    ...{ chainPem, privateKeyPem, rootsPem: [], alpn: ['h2', 'http/1.1'] },
    ...{ alpnOptional: true, minimumVersion: 'TLS 1.2', verifiesPeers: false },
  });
  const { promise, resolve } = Promise.withResolvers<TlsSession[]>();
  const sessions: TlsSession[] = [];
  const listener = listenTcp({ address: { ip: loopback, port: 0 } }, (stream) => {
    void acceptTls(stream, context).then((session) => {
      sessions.push(session);
      if (sessions.length === 2) resolve(sessions);
    });
  });
  t.teardown(() => {
    listener.close();
    for (const session of sessions) session.reset();
  });
  for (const [maxVersion, name] of [
    ['TLSv1.2', 'a.example.com'],
    ['TLSv1.3', ''],
  ] as const) {
    const socket = tls.connect({
      ...{ port: listener.local.port, host: '127.0.0.1', maxVersion, ca: [ca.rootPem] },
      ...(name !== '' && { servername: name }),
      checkServerIdentity: () => undefined,
    });
    t.teardown(() => socket.destroy());
    await once(socket, 'secureConnect');
  }
  t.deepEqual(
    (await promise).map(({ serverName, alpn }) => [serverName, alpn]),
    [
      ['a.example.com', ''],
      ['', ''],
    ],
  );
});

const hosts = test.macro<[string, string, boolean]>({
  exec(t, presented, host, expected) {
    t.is(matchesHost(presented, host), expected);
  },
  title: (_given, presented, host, expected) =>
    `a certificate of ${presented} is ${expected ? 'one' : 'none'} of ${host}`,
});

test(hosts, 'Example.com', 'example.COM', true);
test(hosts, 'example.com', 'example.com.', true);
test(hosts, 'example.com', 'www.example.com', false);
test(hosts, '*.example.com', 'www.example.com', true);
test(hosts, '*.example.com', 'example.com', false);
test(hosts, '*.example.com', 'a.b.example.com', false);
test(hosts, '*.com', 'example.com', false);
test(hosts, 'w*.example.com', 'www.example.com', false);
test(hosts, '*', 'example', false);
test(hosts, 'example.com\0.evil.org', 'example.com', false);
test(hosts, '', '', false);

test('a name counts among those of its own kind alone', (t) => {
  const names = {
    uris: ['spiffe://a/b'],
    dnsNames: ['10.0.0.1', 'spiffe://x/y'],
    addresses: [parseIpAddress('10.0.0.2'), parseIpAddress('fd00::1')],
    namesReadable: true,
  };
  const has = (name: string): boolean => hasName(names, name);
  t.deepEqual(['spiffe://a/b', '10.0.0.2', 'fd00:0::1'].map(has), [true, true, true]);
  t.deepEqual(['spiffe://x/y', '10.0.0.1', 'spiffe://a'].map(has), [false, false, false]);
  t.false(hasName({ ...names, namesReadable: false }, 'spiffe://a/b'));
  t.is(describeNames(names), '"spiffe://a/b", "10.0.0.1", "spiffe://x/y" and 2 more');
});
