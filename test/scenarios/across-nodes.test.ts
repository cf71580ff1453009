import test from 'ava';
import { startMesh } from '../support/mesh.ts';
import type { Peer } from '../support/mesh-peer.ts';
import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    podYaml('client', { node: 'node-1' }),
    podYaml('twin', { node: 'node-1', account: 'client' }),
    podYaml('near', { node: 'node-1', account: 'web', labels: { app: 'near' } }),
    podYaml('far', { node: 'node-2', account: 'web', labels: { app: 'far' } }),
    serviceYaml('far', { 80: 9000 }),
  ].join(''),
});

const CLIENT = 'spiffe://cluster.local/ns/shop/sa/client';
const WEB = 'spiffe://cluster.local/ns/shop/sa/web';
const MUTUAL_TLS = { connection_security_policy: 'mutual_tls' };

let outside: Peer;
test.serial.before('the peers are ready', async () => {
  outside = await mesh.outside();
  for (const pod of ['near', 'far']) {
    const peer = await mesh.peer(pod);
    await peer.listen(9000);
    await peer.listen(9001, 'queue');
  }
});

test.serial(
  'a call to another node is mTLS on the wire, and both proxies tell of it',
  async (t) => {
    const client = await mesh.peer('client');
    const [clientIp, farIp] = [await mesh.ip('client'), await mesh.ip('far')];
    const mark = mesh.mark();
    const [atClient, atServer] = [await mesh.metrics('node-1'), await mesh.metrics('node-2')];
    const text = `marker-${crypto.randomUUID()}`;

    const wire = await mesh.onBridge(outside, async () => {
      t.like(await client.say('far.shop', 80, text), { text, ended: 'end' });
    });

    t.deepEqual(wire.complaints([clientIp, farIp]), []);
    t.is(wire.readable(text), 0);
    const ends = {
      'src.identity': CLIENT,
      'dst.identity': WEB,
      'src.workload': 'client',
      'dst.workload': 'far',
      'dst.addr': `${farIp}:15008`,
      'dst.hbone_addr': `${farIp}:9000`,
      'dst.service': 'far.shop.svc.cluster.local',
      bytes_sent: text.length,
      bytes_recv: text.length,
      error: undefined,
    };
    const outbound = await mesh.record({ direction: 'outbound', node: 'node-1' }, mark);
    const inbound = await mesh.record({ direction: 'inbound', node: 'node-2' }, mark);
    for (const record of [outbound, inbound]) t.like(record, ends);
    // One connection, one trace: what finds its two records.
    t.regex(JSON.stringify(outbound['outbound']), /^\{"id":"[0-9a-f]{32}"\}$/);
    t.deepEqual(inbound['inbound'], outbound['outbound']);
    const labels = { ...MUTUAL_TLS, source_principal: CLIENT, destination_principal: WEB };
    for (const [node, reporter, before] of [
      ['node-1', 'source', atClient],
      ['node-2', 'destination', atServer],
    ] as const) {
      const now = await mesh.metrics(node);
      const grown = (name: string): number => now.growth(before, name, { ...labels, reporter });
      t.is(grown('istio_tcp_connections_opened_total'), 1);
      t.is(grown('istio_tcp_connections_closed_total'), 1);
      t.is(grown('istio_tcp_sent_bytes_total'), text.length);
      t.is(grown('istio_tcp_received_bytes_total'), text.length);
    }
  },
);

test.serial('a call on one node is mTLS too, once out and once in', async (t) => {
  const client = await mesh.peer('client');
  const [clientIp, nearIp] = [await mesh.ip('client'), await mesh.ip('near')];
  const mark = mesh.mark();
  const before = await mesh.metrics('node-1');
  const text = `marker-${crypto.randomUUID()}`;

  const wire = await mesh.atPod('near', async () => {
    t.like(await client.say(nearIp, 9000, text), { text, ended: 'end' });
  });

  t.deepEqual(wire.complaints([clientIp, nearIp]), []);
  t.is(wire.readable(text), 0);
  for (const direction of ['outbound', 'inbound'] as const)
    t.like(await mesh.record({ direction }, mark), {
      ...{ node: 'node-1', 'src.identity': CLIENT, 'dst.identity': WEB },
      ...{ bytes_sent: text.length, bytes_recv: text.length },
    });
  const now = await mesh.metrics('node-1');
  for (const reporter of ['source', 'destination'])
    t.is(now.growth(before, 'istio_tcp_connections_closed_total', { ...MUTUAL_TLS, reporter }), 1);
});

test.serial(
  'a server sees the address of the pod that calls, also of two with one account',
  async (t) => {
    const mark = mesh.mark();
    const callers = [await mesh.peer('client'), await mesh.peer('twin')];
    for (const server of ['near', 'far']) {
      const peer = await mesh.peer(server);
      const ip = await mesh.ip(server);
      const opened = await Promise.all(callers.map((caller) => caller.connect(ip, 9001)));
      const accepted = [await peer.accept(9001), await peer.accept(9001)];
      const seen = accepted.map(({ remote }) => remote.split(':')[0]);
      t.deepEqual(seen.sort(), [await mesh.ip('client'), await mesh.ip('twin')].sort());
      // Each is connected with the one whose address it shows.
      for (const connection of accepted) {
        const index = connection.remote.startsWith(`${await mesh.ip('client')}:`) ? 0 : 1;
        await connection.write(`for ${index}`);
        t.like(await opened[index]?.read(5), { text: `for ${index}` });
      }
      for (const connection of [...opened, ...accepted]) await connection.end();
    }
    for (const source of ['client', 'twin']) {
      const pattern = { direction: 'inbound', node: 'node-2', 'src.workload': source };
      const record = await mesh.record(pattern, mark);
      t.is(record['src.identity'], CLIENT);
      t.is(String(record['src.addr']).split(':')[0], await mesh.ip(source));
    }
  },
);
