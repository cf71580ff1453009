import { setImmediate as pause } from 'node:timers/promises';
import test from 'ava';
import { MeshError } from '../../../base/errors.ts';
import { parseTrustDomain } from '../../../mesh/model/identity.ts';
import { makeService } from '../../support/workloads.ts';
import { TestNode, type TestPod } from '../../support/ztunnel-pods.ts';
import type { Collector } from '../../support/collect.ts';

test.serial(
  'a connection between two pods goes by mTLS, with both identities and the client address',
  async (t) => {
    const node = await TestNode.open(t);
    const client = node.addPod({ name: 'client' });
    const server = node.addPod({ name: 'server' });
    const accepted = server.accept(8080);
    const app = await client.connect(server.ip, 8080);
    await app.write('ping');
    const { app: backend, peer } = await accepted;
    t.is(peer.ip, client.ip);
    await backend.until((c) => c.received === 4);
    t.is(backend.text, 'ping');
    await backend.write('pong!');
    await app.until((c) => c.received === 5);

    // Half-close goes through, one direction at a time.
    app.stream.end();
    await backend.until((c) => c.ended);
    await backend.write('after the end');
    await app.until((c) => c.received === 18);
    backend.stream.end();
    await app.until((c) => c.ended);

    const outbound = await node.ended('outbound');
    const inbound = await node.ended('inbound');
    const identities = {
      'src.identity': 'spiffe://cluster.local/ns/shop/sa/client',
      'dst.identity': 'spiffe://cluster.local/ns/shop/sa/server',
    };
    t.like(outbound, { ...identities, bytes_sent: 4, bytes_recv: 18, level: 'info' });
    t.like(inbound, { ...identities, bytes_sent: 18, bytes_recv: 4, level: 'info' });
    t.is(outbound['error'], undefined);
    t.is(outbound['dst.addr'], `${server.ip}:15008`);
    t.is(outbound['dst.hbone_addr'], `${server.ip}:8080`);
    for (const reporter of ['source', 'destination']) {
      const own = [`reporter="${reporter}"`, 'connection_security_policy="mutual_tls"'];
      t.is(node.metric('istio_tcp_connections_opened_total', ...own), 1);
      t.is(node.metric('istio_tcp_connections_closed_total', ...own), 1);
      t.is(node.metric('istio_tcp_received_bytes_total', ...own), 4);
      t.is(node.metric('istio_tcp_sent_bytes_total', ...own), 18);
      t.is(node.metric('istio_tcp_connections_failed_total', ...own), 0);
    }
    t.is(node.connections.size, 0);
    t.is(node.pool.size, 1);
  },
);

test.serial(
  'what comes to 15001 without redirection would go round for ever, and is refused',
  async (t) => {
    const node = await TestNode.open(t);
    const client = node.addPod({ name: 'client' });
    // An address of the pod that the control plane has not told of.
    client.run('ip addr add 10.8.8.8/32 dev lo');
    // One thread plays both ends: its reset may come before its own connect is done.
    await t.throwsAsync(async () => {
      const app = await client.connect('10.8.8.8', 15001);
      await app.until((c) => c.error !== undefined);
      throw app.error ?? new Error('ended in order');
    });
    const [record] = await node.records(({ direction }) => direction === 'outbound');
    t.like(record, { message: 'connection failed', 'dst.addr': '10.8.8.8:15001' });
    t.regex(String(record?.['error']), /recursive call to ourselves/);
    t.is(node.connections.size, 0);
  },
);

const WEB = { 'shop/web.shop.svc.cluster.local': ['80:8080'] };

/** Answers what it gets with the name of its pod. */
function serveName(pod: TestPod): void {
  pod.listen(8080, (app) => {
    void app
      .until((c) => c.received > 0)
      .then(() => app.write(pod.name))
      .then(() => {
        app.stream.end();
      });
  });
}

/** Asks once and gives the answer, or the error. */
async function ask(pod: TestPod, ip: string, port: number): Promise<string> {
  const app = await pod.connect(ip, port);
  try {
    await app.write('who?');
  } catch {
    return 'reset';
  }
  await app.until((c) => c.ended || c.error !== undefined);
  app.stream.end();
  return app.error === undefined ? app.text : 'reset';
}

test.serial(
  'an endpoint whose application refuses is passed over: another one is tried',
  async (t) => {
    const node = await TestNode.open(t);
    const client = node.addPod({ name: 'client' });
    node.addPod({ name: 'broken', serves: WEB });
    serveName(node.addPod({ name: 'whole', serves: WEB }));
    node.state.setService(makeService({ name: 'web', vips: ['10.96.0.10'] }));
    for (let asked = 0; asked < 8; asked++) t.is(await ask(client, '10.96.0.10', 80), 'whole');
    const outbound = await node.records(
      (r) => r['direction'] === 'outbound' && 'bytes_sent' in r,
      8,
    );
    t.deepEqual([...new Set(outbound.map((r) => r['dst.workload']))], ['whole']);
    t.is(outbound[0]?.['dst.service'], 'web.shop.svc.cluster.local');
    t.is(node.metric('istio_tcp_connections_failed_total', 'reporter="source"'), 0);
  },
);

test.serial(
  'when no endpoint answers the client sees a reset, and the record says why',
  async (t) => {
    const node = await TestNode.open(t);
    const client = node.addPod({ name: 'client' });
    for (const name of ['one', 'two']) node.addPod({ name, serves: WEB });
    node.state.setService(makeService({ name: 'web', vips: ['10.96.0.10'] }));
    t.is(await ask(client, '10.96.0.10', 80), 'reset');
    const record = await node.ended('outbound');
    t.is(record['level'], 'error');
    t.regex(String(record['error']), /http status: 503/);
    t.is(node.metric('istio_tcp_connections_failed_total', 'reporter="source"'), 1);
    const inbound = await node.records((r) => r['direction'] === 'inbound' && 'error' in r, 2);
    t.regex(String(inbound[0]?.['error']), /ECONNREFUSED/);
    t.is(node.connections.size, 0);
  },
);

test.serial('a client that goes away while its upstream is dialled ends the attempt', async (t) => {
  const node = await TestNode.open(t);
  const client = node.addPod({ name: 'client' });
  const silent = node.addPlain({ name: 'silent', tunnelProtocol: 'NONE' });
  silent.run(
    'nft add table ip t; nft add chain ip t c "{ type filter hook input priority 0; policy drop; }"',
  );
  const app = await client.connect(silent.ip, 8080);
  await node.until(() => node.connections.size === 1);
  app.stream.reset();
  const record = await node.ended('outbound');
  t.regex(String(record['error']), /client that has gone/);
  t.is(node.connections.size, 0);
  t.is(client.run('ss -Htn state syn-sent'), '');
});

test.serial('what is not of the mesh is reached as if there were no proxy', async (t) => {
  const node = await TestNode.open(t);
  const client = node.addPod({ name: 'client' });
  const outside = node.addPlain({ name: 'outside', tunnelProtocol: 'NONE' });
  serveName(outside);
  t.is(await ask(client, outside.ip, 8080), 'outside');
  const record = await node.ended('outbound');
  t.is(record['dst.addr'], `${outside.ip}:8080`);
  t.is(record['src.identity'], undefined);
  t.is(record['tls.group'], undefined);
  t.is(await ask(client, outside.ip, 8081), 'reset'); // refused there
});

test.serial('many connections at once share sessions, and none of them fails', async (t) => {
  const node = await TestNode.open(t, { clientHttp2: { maxStreams: 20 } });
  const client = node.addPod({ name: 'client' });
  const server = node.addPod({ name: 'server' });
  const held: Collector[] = [];
  server.listen(8080, (app) => {
    held.push(app);
  });
  const apps = await Promise.all(
    Array.from({ length: 150 }, () => client.connect(server.ip, 8080)),
  );
  await Promise.all(apps.map((app) => app.write('x')));
  await node.records(
    (r) => r['message'] === 'connection opened' && r['direction'] === 'outbound',
    150,
  );
  t.is(node.pool.size, 8); // of 20 tunnels each
  t.is(node.metric('istio_tcp_connections_failed_total'), 0);
  for (const app of apps) app.stream.reset();
  await node.records((r) => r['message'] === 'connection complete', 300);
  t.is(node.connections.size, 0);
  t.is(node.metric('istio_tcp_connections_opened_total'), 300);
  t.is(node.metric('istio_tcp_connections_closed_total'), 300);
});

test.serial(
  'a session that has ended unseen is replaced, and the connection does not notice',
  async (t) => {
    const node = await TestNode.open(t);
    const client = node.addPod({ name: 'client' });
    const server = node.addPod({ name: 'server' });
    serveName(server);
    t.is(await ask(client, server.ip, 8080), 'server');
    // The other end forgets its sockets, as a node does that is started anew.
    server.run("ss -K 'sport = :15008'");
    t.is(await ask(client, server.ip, 8080), 'server');
    t.is(node.metric('istio_tcp_connections_failed_total'), 0);
  },
);

test.serial('a renewed certificate is for new connections; the old ones go on', async (t) => {
  const node = await TestNode.open(t);
  const client = node.addPod({ name: 'client' });
  const server = node.addPod({ name: 'server' });
  const accepted = server.accept(8080);
  const app = await client.connect(server.ip, 8080);
  await app.write('before');
  const { app: backend } = await accepted;
  node.contexts.set(node.ca.issue('spiffe://cluster.local/ns/shop/sa/client'));
  t.is(node.pool.size, 0); // retired: no new tunnels
  serveName(server);
  t.is(await ask(client, server.ip, 8080), 'server');
  t.is(node.pool.size, 1);
  await app.write(' and after');
  await backend.until((c) => c.received === 16);
  t.is(backend.text, 'before and after');
});

test.serial(
  'without a valid certificate nothing new is begun, and what is open goes on',
  async (t) => {
    const node = await TestNode.open(t);
    const client = node.addPod({ name: 'client' });
    const server = node.addPod({ name: 'server' });
    const accepted = server.accept(8080);
    node.issue = (identity) => ({ ...node.ca.issue(identity), notAfterMs: Date.now() + 1500 });
    const app = await client.connect(server.ip, 8080);
    await app.write('before');
    const { app: backend } = await accepted;
    node.issue = (identity) => {
      throw new MeshError(
        'ERR_CERTIFICATE_UNAVAILABLE',
        'local',
        `Cannot get a certificate for ${identity}`,
      );
    };
    await new Promise((resolve) => setTimeout(resolve, 1600)); // until it has expired
    serveName(server);
    t.is(await ask(client, server.ip, 8080), 'reset');
    const record = await node.ended('outbound');
    t.regex(String(record['error']), /Cannot get a certificate for .*client/);
    t.is(node.metric('istio_tcp_connections_failed_total', 'response_flags="IDENTITY_ERROR"'), 1);
    await app.write(' and after');
    await backend.until((c) => c.received === 16);
    t.is(backend.text, 'before and after');
  },
);

test.serial('a pod that the control plane has not told of yet waits', async (t) => {
  const node = await TestNode.open(t);
  const client = node.addPod({ name: 'client' });
  const server = node.addPod({ name: 'server' });
  serveName(server);
  node.state.deleteWorkload(client.workload.uid);
  const answer = ask(client, server.ip, 8080);
  await node.until(() => node.waiters.waiting === 1);
  node.know(client.workload);
  t.is(await answer, 'server');
});

test.serial(
  'the control plane says of which trust domain a pod is, and a change closes what is open',
  async (t) => {
    const node = await TestNode.open(t);
    const trustDomain = parseTrustDomain('mesh.example');
    const client = node.addPod({ name: 'client', trustDomain });
    const server = node.addPod({ name: 'server', trustDomain });
    server.listen(8080, (app) => {
      void app.write('hello');
    });
    const app = await client.connect(server.ip, 8080);
    await app.until((c) => c.received === 5);
    const [record] = await node.records((r) => r['direction'] === 'outbound');
    t.is(record?.['src.identity'], 'spiffe://mesh.example/ns/shop/sa/client');
    await node.connections.recheck(pause);
    t.is(app.error, undefined);
    node.know({ ...client.workload, trustDomain: parseTrustDomain('other.example') });
    await node.connections.recheck(pause);
    await app.until(({ error }) => error !== undefined);
    t.regex(String((await node.ended('outbound'))['error']), /the identity of .* has changed/);
  },
);
