import test from 'ava';
import { startMesh } from '../support/mesh.ts';
import type { Connection } from '../support/mesh-peer.ts';
import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';

const CLIENT = podYaml('client', { node: 'node-1' });
const WEB = podYaml('web', { node: 'node-2' });

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    CLIENT,
    WEB,
    podYaml('near', { node: 'node-1' }),
    serviceYaml('web', { 80: 9000 }),
  ].join(''),
});

const ECHO = 9000;
const QUEUE = 9001;

test.serial.before('the servers listen', async () => {
  for (const pod of ['web', 'near']) {
    const peer = await mesh.peer(pod);
    await peer.listen(ECHO);
    await peer.listen(QUEUE, 'queue');
  }
});

async function connect(from: string, to: string): Promise<[Connection, Connection]> {
  const client = await mesh.peer(from);
  const atClient = await client.connect(await mesh.ip(to), QUEUE);
  const atServer = await (await mesh.peer(to)).accept(QUEUE);
  await atClient.write('open');
  await atServer.read(4);
  return [atClient, atServer];
}

/** Connections that a node's proxies have open, as its metrics count them. */
async function openOn(node: string): Promise<number> {
  const metrics = await mesh.metrics(node);
  return (
    metrics.sum('istio_tcp_connections_opened_total', { response_flags: '-' }) -
    metrics.sum('istio_tcp_connections_closed_total')
  );
}

test.serial(
  'clients of a server pod that is deleted hear of it at once, on its node and on others',
  async (t) => {
    const mark = mesh.mark();
    const [far] = await connect('client', 'web');
    const [near] = await connect('near', 'web');
    await mesh.delete('Pod', 'web');
    for (const connection of [far, near])
      t.regex((await connection.ended()).how, /^(end|ECONNRESET)$/);
    const outbound = await mesh.records({ direction: 'outbound', 'dst.workload': 'web' }, mark, 2);
    t.deepEqual(outbound.map((record) => record['src.workload']).sort(), ['client', 'near']);
    await mesh.records({ direction: 'inbound', 'dst.workload': 'web' }, mark, 2);
    t.is(await openOn('node-1'), 0);
    t.is(await openOn('node-2'), 0);
  },
);

test.serial('a service without a pod refuses, and its next pod is called', async (t) => {
  const client = await mesh.peer('client');
  const mark = mesh.mark();
  const vip = await mesh.vip('web');
  t.like(await client.say(vip, 80, 'anybody?'), { text: '', ended: 'ECONNRESET' });
  const refused = await mesh.record({ direction: 'outbound' }, mark);
  t.regex(refused.error ?? '', /no healthy upstream/);
  await mesh.apply(WEB);
  await (await mesh.peer('web')).listen(ECHO);
  await (await mesh.peer('web')).listen(QUEUE, 'queue');
  t.like(await client.say(vip, 80, 'you again'), { text: 'you again', ended: 'end' });
  for (const direction of ['outbound', 'inbound'] as const)
    await mesh.record({ direction, error: undefined }, mark);
});

test.serial('servers of a client pod that is deleted hear of it at once', async (t) => {
  const mark = mesh.mark();
  const [, far] = await connect('client', 'web');
  const [, near] = await connect('client', 'near');
  await mesh.delete('Pod', 'client');
  for (const connection of [far, near])
    t.regex((await connection.ended()).how, /^(end|ECONNRESET)$/);
  for (const direction of ['outbound', 'inbound'] as const)
    await mesh.records({ direction, 'src.workload': 'client' }, mark, 2);
  t.is(await openOn('node-1'), 0);
  t.is(await openOn('node-2'), 0);
});

test.serial('a pod that comes back under its name is captured anew', async (t) => {
  await mesh.apply(CLIENT);
  const mark = mesh.mark();
  const client = await mesh.peer('client');
  t.like(await client.say(await mesh.ip('web'), ECHO, 'back'), { text: 'back', ended: 'end' });
  t.like(await mesh.record({ direction: 'inbound' }, mark), {
    ...{ 'src.identity': 'spiffe://cluster.local/ns/shop/sa/client', error: undefined },
  });
});
