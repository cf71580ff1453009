import test from 'ava';
import { startMesh } from '../support/mesh.ts';
import type { Peer } from '../support/mesh-peer.ts';
import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';

const DUAL = { ipFamilyPolicy: 'RequireDualStack', ipFamilies: ['IPv4', 'IPv6'] };

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    podYaml('client', { node: 'node-1' }),
    podYaml('web', { node: 'node-2' }),
    podYaml('db-1', { node: 'node-1', account: 'db', labels: { app: 'db' } }),
    podYaml('db-2', { node: 'node-2', account: 'db', labels: { app: 'db' } }),
    serviceYaml('web', { 80: 9000 }, DUAL),
    serviceYaml('db', { 9000: 9000 }, { clusterIP: 'None' }),
  ].join(''),
});

const CLIENT = 'spiffe://cluster.local/ns/shop/sa/client';
const sa = (name: string): string => `spiffe://cluster.local/ns/shop/sa/${name}`;

let outside: Peer;
test.serial.before('the peers are ready', async () => {
  outside = await mesh.outside();
  const web = await mesh.peer('web');
  await web.listen(9000);
  await web.listen(9001, 'queue');
  await web.listen(9004, 'echo', { host: '0.0.0.0' });
  await web.listen(9006, 'echo', { host: '::1' });
  for (const pod of ['db-1', 'db-2'])
    await (await mesh.peer(pod)).listen(9000, 'echo', { greeting: pod });
});

/** As text with a port. */
function at(ip: string, port: number): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}

test.serial('IPv6 is captured, encrypted, and shows its source, as IPv4 is', async (t) => {
  const [client, web] = [await mesh.peer('client'), await mesh.peer('web')];
  const ips = [await mesh.ip('client', 6), await mesh.ip('web', 6)] as const;
  const mark = mesh.mark();
  const before = await mesh.metrics('node-2');
  const text = `marker-${crypto.randomUUID()}`;
  const wire = await mesh.onBridge(outside, async () => {
    const atClient = await client.connect(ips[1], 9001);
    const atServer = await web.accept(9001);
    t.true(atServer.remote.startsWith(`[${ips[0]}]:`), atServer.remote);
    t.is(atServer.local, at(ips[1], 9001));
    await atClient.write(text);
    t.deepEqual(await atServer.read(text.length), { text });
    await atClient.end();
    await atServer.end();
    t.is((await atClient.ended()).how, 'end');
  });
  t.deepEqual(wire.complaints(ips), []);
  t.is(wire.readable(text), 0);
  for (const direction of ['outbound', 'inbound'] as const)
    t.like(await mesh.record({ direction }, mark), {
      ...{ 'src.identity': CLIENT, 'dst.identity': sa('web'), error: undefined },
      ...{ 'dst.addr': at(ips[1], 15008), 'dst.hbone_addr': at(ips[1], 9001) },
    });
  const now = await mesh.metrics('node-2');
  const labels = { reporter: 'destination', connection_security_policy: 'mutual_tls' };
  t.is(now.growth(before, 'istio_tcp_received_bytes_total', labels), text.length);
});

test.serial('a dual-stack service answers on both of its addresses', async (t) => {
  const client = await mesh.peer('client');
  for (const family of [4, 6] as const) {
    const mark = mesh.mark();
    const vip = await mesh.vip('web', family);
    t.like(await client.say(vip, 80, 'either'), { text: 'either', ended: 'end' });
    t.like(await mesh.record({ direction: 'outbound' }, mark), {
      ...{
        'dst.service': 'web.shop.svc.cluster.local',
        'dst.identity': sa('web'),
        error: undefined,
      },
    });
    await mesh.record({ direction: 'inbound' }, mark);
  }
});

test.serial(
  'a headless service is its pods: by name, by address, each under its own name',
  async (t) => {
    const client = await mesh.peer('client');
    const names = new Set<string>();
    const { addresses } = await client.ask('lookup', {
      name: 'db.shop.svc.cluster.local',
      family: 4,
    });
    t.deepEqual([...addresses].sort(), [await mesh.ip('db-1'), await mesh.ip('db-2')].sort());
    for (const address of addresses) {
      const mark = mesh.mark();
      const connection = await client.connect(address, 9000);
      const { text } = await connection.read(4);
      names.add(text);
      t.is(address, await mesh.ip(text));
      await connection.end();
      t.is((await connection.ended()).how, 'end');
      for (const direction of ['outbound', 'inbound'] as const)
        t.like(await mesh.record({ direction }, mark), {
          ...{ 'dst.workload': text, 'dst.identity': sa('db'), 'src.identity': CLIENT },
          ...{ 'dst.hbone_addr': at(address, 9000), error: undefined },
        });
    }
    t.deepEqual([...names].sort(), ['db-1', 'db-2']);
  },
);

test.serial(
  'a server on one family alone is reached by it, and refuses the other with a reset',
  async (t) => {
    const client = await mesh.peer('client');
    const mark = mesh.mark();
    t.like(await client.say(await mesh.ip('web', 4), 9004, 'four'), { text: 'four', ended: 'end' });
    t.like(await client.say(await mesh.ip('web', 6), 9004, 'four'), {
      text: '',
      ended: 'ECONNRESET',
    });
    const refused = { 'dst.hbone_addr': at(await mesh.ip('web', 6), 9004) };
    for (const direction of ['outbound', 'inbound'] as const)
      t.is(typeof (await mesh.record({ direction, ...refused }, mark)).error, 'string');
    t.like(await client.say(await mesh.ip('web', 6), 9006, 'local'), { ended: 'ECONNRESET' });
  },
);
