import test from 'ava';
import { explainConnection } from '../../cli/explain-connection.ts';
import { DUMP_VIEWS, type ConfigDump } from '../../cli/ztunnel-tables.ts';
import { startMesh } from '../support/mesh.ts';
import type { Peer } from '../support/mesh-peer.ts';
import { policyYaml } from '../support/mesh-policies.ts';
import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';

const mesh = startMesh(test, {
  settings: {
    partEnvironment: { ztunnel: { XDS_ON_DEMAND: 'true', ISTIO_META_DNS_CAPTURE: 'false' } },
  },
  yaml: [
    namespaceYaml('shop'),
    podYaml('client', { node: 'node-1' }),
    podYaml('thief', { node: 'node-1' }),
    podYaml('web', { node: 'node-2' }),
    podYaml('idle', { node: 'node-2' }),
    podYaml('guarded', { node: 'node-2', labels: { 'istio.io/use-waypoint': 'nobody' } }),
    serviceYaml('web', { 80: 9000 }),
    serviceYaml('idle', { 80: 9000 }),
    policyYaml('no-thief', {
      action: 'DENY',
      rules: [{ from: [{ source: { principals: ['*/sa/thief'] } }] }],
    }),
  ].join(''),
});

const OUTSIDE_IP = '172.18.0.3';
const REFUSED = { text: '', ended: 'ECONNRESET' };
let outside: Peer;

test.serial.before('the servers listen', async () => {
  outside = await mesh.outside();
  await outside.listen(9000);
  for (const pod of ['web', 'idle', 'guarded']) await (await mesh.peer(pod)).listen(9000);
});

async function dump(node: string): Promise<ConfigDump> {
  return (await mesh.page(node, '/config_dump')) as ConfigDump;
}

/** The rows of `halo ztunnel <view>` of a node. */
async function rows(view: string, node: string): Promise<readonly (readonly unknown[])[]> {
  return DUMP_VIEWS.get(view)?.rows(await dump(node)) ?? [];
}

async function workloadsKnown(node: string): Promise<unknown[]> {
  return (await rows('workloads', node)).map((row) => row[1]);
}

test.serial('a proxy begins with the pods of its node, and has asked for nothing', async (t) => {
  const known = await workloadsKnown('node-1');
  t.true(known.includes('client'));
  t.false(known.includes('web'));
  t.deepEqual(await rows('demands', 'node-1'), []);
});

test.serial('a VIP and a pod address on another node are reached over mTLS', async (t) => {
  const client = await mesh.peer('client');
  const [vip, ip] = [await mesh.vip('web'), await mesh.ip('web')];
  for (const [host, port] of [
    [vip, 80],
    [ip, 9000],
  ] as const) {
    const mark = mesh.mark();
    t.like(await client.say(host, port, 'hello'), { text: 'hello', ended: 'end' });
    const ends = {
      'src.identity': 'spiffe://cluster.local/ns/shop/sa/client',
      'dst.identity': 'spiffe://cluster.local/ns/shop/sa/web',
      'src.workload': 'client',
      'dst.workload': 'web',
      'dst.hbone_addr': `${ip}:9000`,
    };
    t.like(await mesh.record({ direction: 'outbound', node: 'node-1' }, mark), ends);
    // Who came is asked for on this side too.
    t.like(await mesh.record({ direction: 'inbound', node: 'node-2' }, mark), ends);
  }
  const demands = await rows('demands', 'node-1');
  for (const key of [`/${vip}`, `/${ip}`])
    t.deepEqual(demands.find((row) => row[0] === key)?.[1], 'Answered', key);
  const known = await workloadsKnown('node-1');
  t.true(known.includes('web'));
  t.false(known.includes('idle'), 'nobody asked for it');
});

test.serial('policy holds, and a pod whose waypoint is missing is not reached', async (t) => {
  const [client, thief] = [await mesh.peer('client'), await mesh.peer('thief')];
  t.like(await thief.say(await mesh.vip('web'), 80, 'hello'), REFUSED);
  t.like(await thief.say(await mesh.ip('web'), 9000, 'hello'), REFUSED);
  t.like(await client.say(await mesh.ip('guarded'), 9000, 'hello'), REFUSED);
});

test.serial('an address outside the mesh is asked for and passes through', async (t) => {
  const mark = mesh.mark();
  const client = await mesh.peer('client');
  t.like(await client.say(OUTSIDE_IP, 9000, 'hello'), { text: 'hello', ended: 'end' });
  const asked = { direction: 'outbound', node: 'node-1', 'dst.addr': `${OUTSIDE_IP}:9000` };
  const record = await mesh.record(asked, mark);
  t.is(record['dst.identity'], undefined);
  const key = (await rows('demands', 'node-1')).find((row) => row[0] === `/${OUTSIDE_IP}`);
  t.is(key?.[1], 'Answered');
});

test.serial('an endpoint and a pod that come later are pushed', async (t) => {
  const client = await mesh.peer('client');
  const vip = await mesh.vip('web');
  t.like(await client.say(vip, 80, 'first'), { text: 'first' });
  await mesh.apply(podYaml('web-2', { node: 'node-2', labels: { app: 'web' } }));
  await (await mesh.peer('web-2')).listen(9000);
  t.true((await workloadsKnown('node-1')).includes('web-2'));
  await mesh.delete('Pod', 'web');
  t.false((await workloadsKnown('node-1')).includes('web'));
  const mark = mesh.mark();
  t.like(await client.say(vip, 80, 'second'), { text: 'second', ended: 'end' });
  t.like(await mesh.record({ direction: 'outbound', node: 'node-1' }, mark), {
    'dst.workload': 'web-2',
  });
});

test.serial(
  'without a control plane what is known is served, and nothing else passes',
  async (t) => {
    const client = await mesh.peer('client');
    const [known, unknown] = [await mesh.vip('web'), await mesh.vip('idle')];
    t.like(await client.say(known, 80, 'before'), { text: 'before' });
    await mesh.part('istiod-lite', 'stop');
    t.like(await client.say(known, 80, 'while away'), { text: 'while away', ended: 'end' });
    t.like(await client.say(OUTSIDE_IP, 9000, 'known'), { text: 'known', ended: 'end' });
    const mark = mesh.mark();
    // Of these nobody knows whether they belong to the mesh.
    const refused = await Promise.all([
      client.say(unknown, 80, 'secret'),
      client.say(await mesh.ip('idle'), 9000, 'secret'),
    ]);
    for (const one of refused) t.like(one, REFUSED);
    const error = /control plane has not told of \/10\..* within 5000 ms/;
    t.is((await mesh.records({ direction: 'outbound', node: 'node-1', error }, mark, 2)).length, 2);
    const pending = (await rows('demands', 'node-1')).filter((row) => row[1] === 'Pending');
    t.true(pending.some((row) => row[0] === `/${unknown}`));

    await mesh.part('istiod-lite', 'start');
    await mesh.settled();
    t.like(await client.say(unknown, 80, 'told'), { text: 'told', ended: 'end' });
    t.like(await client.say(known, 80, 'after'), { text: 'after', ended: 'end' });
  },
);

test.serial('halo explain asks as a connection would, and shows what it asked for', async (t) => {
  await mesh.apply(serviceYaml('late', { 80: 9000 }, { selector: { app: 'idle' } }));
  const vip = await mesh.vip('late');
  const first = await explainConnection(mesh.sandbox, 'shop/client', 'late.shop:80');
  t.true(first.allowed, first.verdict);
  const step = { step: 'asked of the control plane', found: `/${vip}` };
  t.deepEqual(first.outbound?.steps.at(-1), step);
  const second = await explainConnection(mesh.sandbox, 'shop/client', 'late.shop:80');
  t.is(second.outbound?.steps.at(-1)?.found, 'nothing that was not known');
  const thief = await explainConnection(mesh.sandbox, 'shop/thief', 'late.shop:80');
  t.false(thief.allowed);
});
