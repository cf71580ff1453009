import test from 'ava';
import type { KubernetesObject } from '../../deploy/sandbox/api.ts';
import { startMesh } from '../support/mesh.ts';
import type { Connection, Peer } from '../support/mesh-peer.ts';
import { AMBIENT, namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop', {}),
    podYaml('client', { node: 'node-1' }),
    podYaml('near', { node: 'node-1', account: 'web', labels: { app: 'web' } }),
    podYaml('far', { node: 'node-2', account: 'web', labels: { app: 'web' } }),
    serviceYaml('web', { 80: 9000 }),
  ].join(''),
});

const SERVED = 9000;
const CLIENT = 'spiffe://cluster.local/ns/shop/sa/client';
const WEB = 'spiffe://cluster.local/ns/shop/sa/web';

let outside: Peer;
let client: Peer;
test.serial.before('the peers are ready', async () => {
  outside = await mesh.outside();
  client = await mesh.peer('client');
  for (const pod of ['near', 'far']) await (await mesh.peer(pod)).listen(SERVED);
});

/** Connections from the client by every way: to a pod on its node, to one on another, to the service, over IPv6. */
async function openAll(): Promise<Connection[]> {
  const ways = [
    ...[await mesh.ip('near'), await mesh.ip('far'), await mesh.ip('far', 6)].map(
      (ip) => [ip, SERVED] as const,
    ),
    [await mesh.vip('web'), 80] as const,
  ];
  const opened = await Promise.all(ways.map(([host, port]) => client.connect(host, port)));
  const echoed = await Promise.all(opened.map((connection) => connection.echo('open')));
  if (echoed.includes(false)) throw new Error('a connection does not work');
  return opened;
}

/** Whether each of them still carries bytes both ways. */
function carry(connections: readonly Connection[], text: string): Promise<boolean[]> {
  return Promise.all(connections.map((connection) => connection.echo(text)));
}

async function endAll(connections: readonly Connection[]): Promise<string[]> {
  for (const connection of connections) await connection.end();
  return Promise.all(connections.map(async (connection) => (await connection.ended()).how));
}

const ALL_WORK = [true, true, true, true];
const ALL_END = ['end', 'end', 'end', 'end'];

test.serial(
  'connections that are open when pods are enrolled go on as they are, new ones are captured',
  async (t) => {
    const mark = mesh.mark();
    const plain = await openAll();
    await mesh.enrol('shop');
    const text = `marker-${crypto.randomUUID()}`;
    const wire = await mesh.onBridge(outside, async () => {
      t.deepEqual(await carry(plain, text), ALL_WORK);
    });
    t.true(wire.readable(text) > 0, 'still in plain text');
    t.true((await mesh.pod('client')).openPlainConnections >= plain.length);

    const captured = `marker-${crypto.randomUUID()}`;
    const ips = [await mesh.ip('client'), await mesh.ip('far')];
    const encrypted = await mesh.onBridge(outside, async () => {
      t.like(await client.say(await mesh.ip('far'), SERVED, captured), {
        text: captured,
        ended: 'end',
      });
    });
    t.deepEqual(encrypted.complaints(ips), []);
    t.is(encrypted.readable(captured), 0);
    for (const direction of ['outbound', 'inbound'] as const)
      t.like(await mesh.record({ direction }, mark), {
        ...{ 'src.identity': CLIENT, 'dst.identity': WEB, bytes_sent: captured.length },
      });

    t.deepEqual(await endAll(plain), ALL_END);
    t.is(mesh.recordsSince(mark).length, 2, 'records of plain connections');
  },
);

test.serial(
  'connections that are open when pods are released go on through the proxies, new ones are plain',
  async (t) => {
    const mark = mesh.mark();
    const before = await mesh.metrics('node-1');
    const captured = await openAll();
    await mesh.enrol('shop', false);
    t.is((await mesh.pod('client')).enrolment, 'none');
    const hidden = `marker-${crypto.randomUUID()}`;
    const encrypted = await mesh.onBridge(outside, async () => {
      t.deepEqual(await carry(captured, hidden), ALL_WORK);
    });
    t.is(encrypted.readable(hidden), 0);
    t.deepEqual(encrypted.complaints([await mesh.ip('client'), await mesh.ip('far')]), []);

    const shown = `marker-${crypto.randomUUID()}`;
    const plain = await mesh.onBridge(outside, async () => {
      t.like(await client.say(await mesh.ip('far'), SERVED, shown), { text: shown, ended: 'end' });
    });
    t.true(plain.readable(shown) > 0);
    t.deepEqual(mesh.recordsSince(mark), [], 'nothing has ended, and nothing new is known');

    t.deepEqual(await endAll(captured), ALL_END);
    for (const direction of ['outbound', 'inbound'] as const) {
      const records = await mesh.records({ direction }, mark, captured.length);
      t.is(records.length, captured.length);
      for (const record of records)
        t.like(record, {
          ...{ 'src.identity': CLIENT, 'dst.identity': WEB, error: undefined },
          bytes_sent: 'open'.length + hidden.length,
        });
    }
    const now = await mesh.metrics('node-1');
    const labels = { reporter: 'source', connection_security_policy: 'mutual_tls' };
    t.is(now.growth(before, 'istio_tcp_connections_closed_total', labels), captured.length);
  },
);

test.serial('a pod can be enrolled alone, and leave a namespace that is', async (t) => {
  const mark = mesh.mark();
  await mesh.label('shop/far', AMBIENT);
  t.is((await mesh.pod('far')).enrolment, 'enabled');
  t.is((await mesh.pod('client')).enrolment, 'none');
  t.like(await client.say(await mesh.ip('far'), SERVED, 'plain'), { text: 'plain', ended: 'end' });
  t.like(await mesh.record({ direction: 'inbound', node: 'node-2' }, mark), {
    ...{ 'src.identity': undefined, 'src.workload': 'client', bytes_recv: 5 },
  });

  await mesh.enrol('shop');
  await mesh.label('shop/near', { 'istio.io/dataplane-mode': 'none' });
  t.is((await mesh.pod('near')).enrolment, 'none');
  t.is((await mesh.pod('client')).enrolment, 'enabled');
  const later = mesh.mark();
  t.like(await client.say(await mesh.ip('near'), SERVED, 'plain'), { text: 'plain', ended: 'end' });
  t.like(await mesh.record({ direction: 'outbound' }, later), {
    ...{ 'dst.identity': undefined, 'dst.workload': 'near', error: undefined },
  });
  t.is(mesh.recordsSince(later).length, 1);
});

test.serial('plain connections are ended at enrolment where that is asked for', async (t) => {
  await mesh.label('shop/near', { 'istio.io/dataplane-mode': null });
  await mesh.enrol('shop', false);
  const plain = await openAll();
  await mesh.sandbox.post('/v1/label', {
    object: { kind: 'Namespace', name: 'shop' },
    labels: AMBIENT,
    resetOpen: true,
  });
  await mesh.settled();
  for (const connection of plain) {
    const { how } = await connection.ended();
    // The kernel's word for a connection that its own host has ended.
    t.true(['ECONNRESET', 'ECONNABORTED'].includes(how), how);
  }
  const counted = ({ metadata: { name, annotations = {} } }: KubernetesObject): boolean =>
    name === 'client' && annotations['halo.dev/open-plain-connections'] === undefined;
  await mesh.watch('Pod', counted, 'none of the client is counted any more');
  t.like(await client.say(await mesh.ip('far'), SERVED, 'again'), { text: 'again', ended: 'end' });
});

test.serial('a pod that is enrolled again right after its release is captured', async (t) => {
  for (let times = 0; times < 4; times++) {
    await mesh.enrol('shop', false);
    await mesh.enrol('shop');
    const mark = mesh.mark();
    t.like(await client.say(await mesh.ip('far'), SERVED, 'again'), {
      text: 'again',
      ended: 'end',
    });
    for (const direction of ['outbound', 'inbound'] as const)
      t.like(await mesh.record({ direction }, mark), {
        ...{ 'src.identity': CLIENT, 'dst.identity': WEB, error: undefined },
      });
  }
});
