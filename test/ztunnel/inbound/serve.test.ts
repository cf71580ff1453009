import { setImmediate as pause } from 'node:timers/promises';
import test from 'ava';
import { parseIpAddress, socketAddress } from '../../../base/address.ts';
import { openTunnel, TunnelRefusedError } from '../../../mesh/hbone/client.ts';
import { HboneSession } from '../../../mesh/hbone/session.ts';
import type { AuthorizationPolicy } from '../../../mesh/model/authorization.ts';
import type { SpiffeId } from '../../../mesh/model/identity.ts';
import { TlsContext } from '../../../net/tls-context.ts';
import { connectTcp } from '../../../net/tcp.ts';
import { Collector } from '../../support/collect.ts';
import { makeMatch, makePolicy, makeRule, text } from '../../support/policies.ts';
import { makeTestCa } from '../../support/test-ca.ts';
import { TestNode, type TestPod } from '../../support/ztunnel-pods.ts';

/** Everyone but `principal` is refused, also who has none. */
function denyOthers(principal: string): AuthorizationPolicy {
  return makePolicy({
    action: 'DENY',
    rules: [makeRule([makeMatch({ notPrincipals: [text(principal)] })])],
  });
}

const deny = (name: string): AuthorizationPolicy =>
  makePolicy({
    action: 'DENY',
    rules: [makeRule([makeMatch({ principals: [text(`cluster.local/ns/shop/sa/${name}`)] })])],
  });

/** A session as another node's proxy would open it for `client`. */
async function openSession(
  node: TestNode,
  client: TestPod,
  server: TestPod,
  certificate = node.ca.issue('spiffe://cluster.local/ns/shop/sa/client'),
): Promise<HboneSession> {
  const context = new TlsContext({ ...certificate, rootsPem: [node.ca.rootPem] });
  return await HboneSession.open(
    socketAddress(server.ip, 15008),
    { netns: client.netns, mark: 0x539 },
    {
      context: () => Promise.resolve(context),
      peers: ['spiffe://cluster.local/ns/shop/sa/server' as SpiffeId],
      http2: {},
    },
  );
}

async function statusOf(session: HboneSession, authority: string): Promise<number> {
  try {
    const { stream } = await openTunnel(session, { authority, headers: [] });
    stream.reset();
    return 200;
  } catch (error) {
    return error instanceof TunnelRefusedError ? error.status : -1;
  }
}

test.serial('a tunnel leads to the pod it was opened to, and to no other place', async (t) => {
  const node = await TestNode.open(t);
  const client = node.addPod({ name: 'client' });
  const server = node.addPod({ name: 'server' });
  const other = node.addPod({ name: 'other' });
  other.listen(8080, () => {
    t.fail('reached another pod');
  });
  server.listen(8080, () => undefined);
  const session = await openSession(node, client, server);
  t.is(await statusOf(session, `${server.ip}:8080`), 200);
  t.is(await statusOf(session, `${server.ip}:8081`), 503); // nobody listens
  t.is(await statusOf(session, `${other.ip}:8080`), 400);
  t.is(await statusOf(session, '127.0.0.1:8080'), 400);
  t.is(await statusOf(session, 'nowhere'), 400);
  for (const own of [15001, 15006, 15008])
    t.is(await statusOf(session, `${server.ip}:${own}`), 503);
  t.is(await statusOf(session, 'web.example.com:80'), 503);
  node.state.setPolicy(deny('client'));
  t.is(await statusOf(session, `${server.ip}:8080`), 401);
  t.is(node.metric('istio_tcp_connections_failed_total', 'response_flags="DENY"'), 1);
  session.close();
});

test.serial('a peer without a certificate of ours gets no session', async (t) => {
  const node = await TestNode.open(t);
  const client = node.addPod({ name: 'client' });
  const server = node.addPod({ name: 'server' });
  const stranger = makeTestCa().issue('spiffe://cluster.local/ns/shop/sa/client');
  const elsewhere = node.ca.issue('spiffe://other.example/ns/shop/sa/client');
  const expired = node.ca.issue('spiffe://cluster.local/ns/shop/sa/client', { ttlMs: -60_000 });
  for (const certificate of [stranger, elsewhere, expired]) {
    // The client is done before the server has judged it: the refusal comes with the first answer.
    const session = await openSession(node, client, server, certificate);
    t.is(await statusOf(session, `${server.ip}:8080`), -1);
  }
  const rejected = await node.records((r) => r['message'] === 'connection failed', 3);
  t.regex(String(rejected[0]?.['error']), /Cannot agree on TLS/);
  t.regex(String(rejected[1]?.['error']), /other\.example.*another trust domain/);
  t.is(rejected[2]?.['direction'], 'inbound');
});

test.serial(
  'plaintext from outside is served with its address kept, until policy asks for an identity',
  async (t) => {
    const node = await TestNode.open(t);
    const server = node.addPod({ name: 'server' });
    const outside = node.addPlain({ name: 'outside' });
    const accepted = server.accept(8080);
    const app = await outside.connect(server.ip, 8080);
    await app.write('plain');
    const { app: backend, peer } = await accepted;
    t.is(peer.ip, outside.ip);
    await backend.until((c) => c.received === 5);
    await backend.write('answer');
    await app.until((c) => c.received === 6);
    // The change closes what is open, and refuses what is new.
    node.state.setPolicy(denyOthers('*'));
    await node.connections.recheck(pause);
    await Promise.all([app, backend].map((c) => c.until(({ error }) => error !== undefined)));
    const record = await node.ended('inbound');
    t.regex(
      String(record['error']),
      /^connection closed due to policy change: explicitly denied by: istio-system\/policy/,
    );
    t.is(record['src.identity'], undefined);
    server.listen(8081, () => {
      t.fail('served although denied');
    });
    const refused = await outside.connect(server.ip, 8081);
    await refused.until(({ error }) => error !== undefined);
    const [, second] = await node.records((r) => 'error' in r, 2);
    t.regex(
      String(second?.['error']),
      /^connection closed due to policy rejection: explicitly denied/,
    );
    t.is(node.metric('istio_tcp_connections_failed_total', 'response_flags="DENY"'), 2);
  },
);

test.serial(
  'a change of policy closes the connections that it forbids, and no others',
  async (t) => {
    const node = await TestNode.open(t);
    const [good, bad] = ['good', 'bad'].map((name) => node.addPod({ name })) as [TestPod, TestPod];
    const server = node.addPod({ name: 'server' });
    const backends: Collector[] = [];
    server.listen(8080, (app) => {
      backends.push(app);
    });
    const goodApp = await good.connect(server.ip, 8080);
    const badApp = await bad.connect(server.ip, 8080);
    await goodApp.write('hello');
    await badApp.write('hello');
    await node.records((r) => r['message'] === 'connection opened', 4);
    node.state.setPolicy(deny('bad'));
    // Two deltas at once ask for it twice.
    await Promise.all([node.connections.recheck(pause), node.connections.recheck(pause)]);
    await badApp.until(({ error }) => error !== undefined);
    await goodApp.write(' again');
    await node.until(() => backends.some((app) => app.text === 'hello again'));
    const record = await node.ended('inbound');
    t.is(record['src.workload'], 'bad');
    t.regex(String(record['error']), /connection closed due to policy change/);
    const [outbound] = await node.records(
      (r) => r['direction'] === 'outbound' && 'bytes_sent' in r,
    );
    t.is(outbound?.['src.workload'], 'bad');
    t.is(node.metric('istio_tcp_connections_closed_total', 'reporter="destination"'), 1);
    t.is(node.metric('istio_tcp_connections_failed_total', 'response_flags="DENY"'), 1);
  },
);

test.serial('a policy that the pod names and that comes late is waited for', async (t) => {
  const node = await TestNode.open(t);
  const client = node.addPod({ name: 'client' });
  const server = node.addPod({ name: 'server', policies: ['shop/late'] });
  const accepted = server.accept(8080);
  const app = await client.connect(server.ip, 8080);
  await node.until(() => node.waiters.waiting === 1);
  const late = { name: 'late', namespace: 'shop', scope: 'WORKLOAD_SELECTOR' } as const;
  const clientOnly = [
    makeRule([makeMatch({ principals: [text('cluster.local/ns/shop/sa/client')] })]),
  ];
  node.state.setPolicy(makePolicy({ ...late, action: 'ALLOW', rules: clientOnly }));
  node.waiters.announce();
  await app.write('x');
  const { app: backend } = await accepted;
  await backend.until((c) => c.received === 1);
  t.is(backend.text, 'x');
});

test.serial('a policy that never comes refuses the connection', async (t) => {
  const node = await TestNode.open(t);
  const client = node.addPod({ name: 'client' });
  const server = node.addPod({ name: 'server', policies: ['shop/missing'] });
  server.listen(8080, () => {
    t.fail('served without its policy');
  });
  const app = await client.connect(server.ip, 8080);
  await app.until(({ error }) => error !== undefined);
  const record = await node.ended('inbound');
  t.regex(String(record['error']), /policies have not arrived within 5000 ms: shop\/missing/);
  t.is(node.waiters.waiting, 0);
});

test.serial(
  'a client that resets its tunnel while the policy is waited for leaves nothing behind',
  async (t) => {
    const node = await TestNode.open(t);
    const client = node.addPod({ name: 'client' });
    const server = node.addPod({ name: 'server', policies: ['shop/missing'] });
    const app = await client.connect(server.ip, 8080);
    await node.until(() => node.waiters.waiting === 1);
    app.stream.reset();
    await node.ended('inbound');
    await node.ended('outbound');
    t.is(node.waiters.waiting, 0);
    t.is(node.connections.size, 0);
  },
);

test.serial(
  'an application that takes the PROXY protocol learns who asked, and for what',
  async (t) => {
    const node = await TestNode.open(t);
    const client = node.addPod({ name: 'client' });
    const server = node.addPod({
      name: 'server',
      applicationTunnel: { port: 9000 },
    });
    const accepted = server.accept(9000);
    const app = await client.connect(server.ip, 8080);
    await app.write('payload');
    const { app: backend, peer } = await accepted;
    t.is(peer.ip, parseIpAddress('127.0.0.1'));
    const identity = 'spiffe://cluster.local/ns/shop/sa/client';
    const length = 16 + 12 + 3 + identity.length;
    await backend.until((c) => c.received === length + 7);
    const bytes = backend.data;
    t.is(bytes.subarray(0, 14).toString('hex'), '0d0a0d0a000d0a515549540a2111');
    t.is(bytes.readUInt16BE(14), length - 16);
    t.is([...bytes.subarray(16, 20)].join('.'), client.ip);
    t.is([...bytes.subarray(20, 24)].join('.'), server.ip);
    t.is(bytes.readUInt16BE(26), 8080);
    t.is(bytes.readUInt8(28), 0xd0);
    t.is(bytes.readUInt16BE(29), identity.length);
    t.is(bytes.subarray(31, length).toString(), identity);
    t.is(bytes.subarray(length).toString(), 'payload');
  },
);

test.serial('M2: what another proxy says about its workload decides nothing', async (t) => {
  const node = await TestNode.open(t);
  const client = node.addPod({ name: 'client' });
  const server = node.addPod({ name: 'server' });
  node.state.setPolicy(deny('client'));
  const session = await openSession(node, client, server);
  const headers = [
    ...['baggage', 'k8s.namespace.name=admin,service.name=admin'],
    ...['forwarded', 'for="10.7.0.99:1";host=admin.shop.svc.cluster.local'],
  ];
  await t.throwsAsync(openTunnel(session, { authority: `${server.ip}:8080`, headers }), {
    message: 'Cannot open a tunnel: http status: 401',
  });
  session.close();
});

test.serial('a connection to 15008 that says nothing is not a session', async (t) => {
  const node = await TestNode.open(t);
  const client = node.addPod({ name: 'client' });
  const server = node.addPod({ name: 'server' });
  const raw = new Collector(
    await connectTcp(socketAddress(server.ip, 15008), { netns: client.netns, mark: 0x539 }),
  );
  await raw.write('GET / HTTP/1.1\r\n\r\n');
  await raw.until(({ ended, error }) => ended || error !== undefined);
  const record = await node.ended('inbound');
  t.is(record['message'], 'connection failed');
  t.like(record, { 'dst.addr': `${server.ip}:15008`, level: 'warn' });
  raw.stream.reset();
});

test.serial('what policies in dry-run would have said is told, and decides nothing', async (t) => {
  const node = await TestNode.open(t);
  const client = node.addPod({ name: 'client' });
  const server = node.addPod({ name: 'server' });
  node.state.setPolicy({ ...deny('client'), name: 'trial', dryRun: true });
  const accepted = server.accept(8080);
  const app = await client.connect(server.ip, 8080);
  await app.write('x');
  await accepted;
  const [dry, enforced] = node.log.filter(({ scope }) => scope === 'rbac');
  t.like(dry, {
    level: 'info',
    message: 'dry-run policy matched',
    policy: 'istio-system/trial',
    action: 'DENY',
    'src.identity': 'spiffe://cluster.local/ns/shop/sa/client',
  });
  t.like(enforced, { level: 'debug', message: 'connection allowed by policy' });
});
