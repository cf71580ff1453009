import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { fetchAdminJson } from '../../mesh/admin/client.ts';
import { POD_SOCKETS } from '../../mesh/zds/pod-sockets.ts';
import { startMesh } from '../support/mesh.ts';
import type { Peer } from '../support/mesh-peer.ts';
import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';

/** Of the namespace that is no pod. */
const OUTSIDE_IP = '172.18.0.3';
const LEDGER_VIP = '240.240.9.9';

const mesh = startMesh(test, {
  settings: { dnsCapture: true },
  yaml: [
    namespaceYaml('shop'),
    podYaml('client', { node: 'node-1' }),
    podYaml('web', { node: 'node-2' }),
    podYaml('without', {
      ...{ node: 'node-1', annotations: { 'ambient.istio.io/dns-capture': 'false' } },
    }),
    serviceYaml('web', { 80: 9000 }),
    `---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ledger, namespace: shop }
spec:
  hosts: [ledger.example.com]
  addresses: [${LEDGER_VIP}]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{ number: 7000, name: tcp, protocol: TCP }]
  endpoints: [{ address: ${OUTSIDE_IP} }]
`,
  ].join(''),
});

let client: Peer;
test.serial.before('the servers listen', async () => {
  client = await mesh.peer('client');
  await (await mesh.peer('web')).listen(9000);
  await (await mesh.outside()).listen(7000);
});

test.serial('services are found by their names, short and long, through the proxy', async (t) => {
  const before = await mesh.metrics('node-1');
  const mark = mesh.mark();
  const vip = await mesh.vip('web');
  for (const name of ['web', 'web.shop', 'web.shop.svc', 'web.shop.svc.cluster.local']) {
    const { addresses } = await client.ask('lookup', { name, family: 4 });
    t.deepEqual(addresses, [vip], name);
  }
  t.like(await client.say('web.shop', 80, 'by name'), { text: 'by name', ended: 'end' });
  t.like(await mesh.record({ direction: 'inbound' }, mark), {
    ...{ 'dst.service': 'web.shop.svc.cluster.local', 'dst.workload': 'web', error: undefined },
  });
  const now = await mesh.metrics('node-1');
  t.true(now.growth(before, 'istio_dns_requests_total') >= 5);
});

test.serial(
  'a name that only the mesh knows is found in captured pods, and leads where it says',
  async (t) => {
    const mark = mesh.mark();
    const { addresses } = await client.ask('lookup', { name: 'ledger.example.com', family: 4 });
    t.deepEqual(addresses, [LEDGER_VIP]);
    t.like(await client.say('ledger.example.com', 7000, 'an entry'), {
      text: 'an entry',
      ended: 'end',
    });
    t.like(
      await mesh.record({ direction: 'outbound', 'dst.service': 'ledger.example.com' }, mark),
      {
        ...{
          'dst.service': 'ledger.example.com',
          'dst.addr': `${OUTSIDE_IP}:7000`,
          error: undefined,
        },
        ...{ bytes_sent: 8, bytes_recv: 8, 'dst.identity': undefined },
      },
    );
    const without = await mesh.peer('without');
    const asked = without.ask('lookup', { name: 'ledger.example.com', family: 4 });
    t.like(await t.throwsAsync(asked), { code: 'ENOTFOUND' });
  },
);

test.serial(
  'names are answered over TCP too, and one that nobody knows is not made up',
  async (t) => {
    const dig = async (...args: readonly string[]): Promise<string> => {
      const { stdout } = await mesh.exec('client', ['dig', '+tries=1', '+time=5', ...args]);
      return stdout;
    };
    t.is((await dig('+short', '+tcp', 'web.shop.svc.cluster.local')).trim(), await mesh.vip('web'));
    const unknown = await dig('nobody.shop.svc.cluster.local');
    t.regex(unknown, /status: NXDOMAIN/);
    t.regex(unknown, /ANSWER: 0/);
  },
);

test.serial(
  'names of the mesh are answered while cluster DNS and the control plane are away',
  async (t) => {
    await mesh.part('cluster-dns', 'stop');
    await mesh.part('istiod-lite', 'stop');
    const vip = await mesh.vip('web');
    t.deepEqual((await client.ask('lookup', { name: 'web.shop', family: 4 })).addresses, [vip]);
    const mark = mesh.mark();
    t.like(await client.say('web.shop', 80, 'still'), { text: 'still', ended: 'end' });
    await mesh.record({ direction: 'inbound', error: undefined }, mark);
    await mesh.part('cluster-dns', 'start');
    await mesh.part('istiod-lite', 'start');
    await mesh.settled();
  },
);

test.serial(
  'names wait while the ztunnel is killed, also after a restart of the node agent',
  async (t) => {
    const vip = await mesh.vip('web');
    const allKept = async (): Promise<void> => {
      while ((await keptSockets().catch(() => 0)) !== POD_SOCKETS.size) await delay(20);
    };
    await allKept();
    await mesh.part('node-agent-node-1', 'kill');
    await mesh.settled();
    // The agent that was started anew gets its sockets from the ztunnel: they outlive that one.
    await allKept();
    for (const kill of [1, 2]) {
      await mesh.part('ztunnel-node-1', 'kill');
      const { addresses } = await client.ask('lookup', { name: 'web.shop', family: 4 });
      t.deepEqual(addresses, [vip], `kill ${kill}`);
      await mesh.settled();
    }
  },
);

/** How many sockets the node agent keeps for the client. */
async function keptSockets(): Promise<number> {
  const { parts } = await mesh.sandbox.status();
  const path = parts.find(({ name }) => name === 'node-agent-node-1')?.adminSocket ?? '';
  const { pods } = (await fetchAdminJson({ kind: 'unix', path }, '/pods')) as {
    pods: readonly { name: string; listeners: readonly string[] }[];
  };
  return pods.find(({ name }) => name === 'shop/client')?.listeners.length ?? 0;
}
