import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { startMesh } from '../support/mesh.ts';
import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';

const DUAL_STACK = { ipFamilyPolicy: 'RequireDualStack' };

const mesh = startMesh(test, {
  settings: { dnsCapture: true },
  yaml: [
    namespaceYaml('shop'),
    namespaceYaml('other'),
    podYaml('client', { node: 'node-1' }),
    podYaml('spared', {
      ...{ node: 'node-1', annotations: { 'ambient.istio.io/dns-capture': 'false' } },
    }),
    podYaml('web', { node: 'node-2' }),
    podYaml('db', { node: 'node-2' }),
    serviceYaml('web', { 80: 9000 }, DUAL_STACK),
    serviceYaml('web', { 80: 9000 }, {}, 'other'),
    serviceYaml('db', { 80: 9000 }, { ...DUAL_STACK, clusterIP: 'None' }),
    serviceEntry('bought', {
      hosts: ['api.bought.example', '*.wild.example'],
      addresses: ['240.0.0.10'],
      location: 'MESH_EXTERNAL',
      resolution: 'STATIC',
      ports: [{ number: 80, name: 'http', protocol: 'HTTP' }],
      endpoints: [{ address: '240.0.0.11' }],
    }),
  ].join(''),
});

const SUFFIX = 'shop.svc.cluster.local';

function serviceEntry(name: string, spec: object): string {
  const metadata = { name, namespace: 'shop' };
  const object = { apiVersion: 'networking.istio.io/v1', kind: 'ServiceEntry', metadata, spec };
  return `---\n${JSON.stringify(object)}\n`;
}

async function dig(pod: string, ...args: readonly string[]): Promise<string> {
  const { stdout } = await mesh.exec(`shop/${pod}`, ['dig', '+tries=1', '+time=5', ...args]);
  return stdout;
}

/** As programs resolve: search domains, IPv4 and IPv6 from one socket. */
async function lookUp(pod: string, name: string): Promise<string[]> {
  const { stdout } = await mesh.exec(`shop/${pod}`, ['getent', 'ahosts', name]);
  return [...new Set(stdout.split('\n').flatMap((line) => line.split(' ')[0] || []))].sort();
}

async function isCaptured(t: ExecutionContext, name: string): Promise<void> {
  t.regex(await dig('client', name), /flags: qr aa rd ra;/); // ours; cluster DNS forwards for nobody
}

test.serial('a pod resolves Services by each of their names, over UDP and TCP', async (t) => {
  const both = [await mesh.vip('web', 4), await mesh.vip('web', 6)].sort();
  for (const name of ['web', 'web.shop', 'web.shop.svc', `web.${SUFFIX}`])
    for (const ip of await lookUp('client', name)) t.true(both.includes(ip), `${name}: ${ip}`);
  const [vip4, vip6] = [await mesh.vip('web', 4), await mesh.vip('web', 6)];
  for (const transport of ['+notcp', '+tcp']) {
    t.is(await dig('client', transport, '+short', `web.${SUFFIX}`, 'A'), `${vip4}\n`);
    t.is(await dig('client', transport, '+short', `web.${SUFFIX}`, 'AAAA'), `${vip6}\n`);
  }
  // The Service of the client's own namespace comes before another one of that name.
  t.is(await dig('client', '+short', 'web'), `${vip4}\n`);
  t.is(await dig('client', '+short', 'web.other'), `${await mesh.vip('web', 4, 'other')}\n`);
  await isCaptured(t, `web.${SUFFIX}`);
});

test.serial('a headless Service is its endpoints', async (t) => {
  t.is(await dig('client', '+short', `db.${SUFFIX}`, 'A'), `${await mesh.ip('db')}\n`);
  t.is(await dig('client', '+short', `db.${SUFFIX}`, 'AAAA'), `${await mesh.ip('db', 6)}\n`);
  await isCaptured(t, `db.${SUFFIX}`);
});

test.serial(
  'names that only the mesh knows are resolved, and not where a pod opts out',
  async (t) => {
    for (const name of ['api.bought.example', 'any.thing.wild.example']) {
      t.is(await dig('client', '+short', name, 'A'), '240.0.0.10\n');
      t.regex(await dig('client', name, 'AAAA'), /status: NOERROR.*ANSWER: 0/s);
      t.regex(await dig('spared', name, 'A'), /status: NXDOMAIN/);
    }
    t.is(await dig('spared', '+short', `web.${SUFFIX}`), `${await mesh.vip('web')}\n`);
  },
);

test.serial('what is not of the mesh goes to the resolvers from inside the pod', async (t) => {
  // A pod's own name below a headless Service is no Service: cluster DNS knows it, the mesh does not.
  const ip = await mesh.ip('db');
  const name = `${ip.replaceAll('.', '-')}.db.${SUFFIX}`;
  const before = await mesh.metrics('node-1');
  const wire = await mesh.atPod('client', async () => {
    for (const transport of ['+notcp', '+tcp'])
      t.is(await dig('client', transport, '+short', name, 'A'), `${ip}\n`);
  });
  t.is(wire.readable(ip.replaceAll('.', '-')), 2); // one query and its answer: TCP was answered from the pod's cache
  t.regex(await dig('client', 'nosuch.example.org'), /status: NXDOMAIN/);
  const after = await mesh.metrics('node-1');
  const labels = { request_query_type: 'A', source_canonical_service: 'client' };
  const grew = (what: string, protocol: string): number =>
    after.growth(before, `istio_dns_${what}`, { ...labels, request_protocol: protocol });
  t.is(grew('requests_total', 'udp'), 2);
  t.is(grew('requests_total', 'tcp'), 1);
  t.is(grew('upstream_requests_total', 'udp'), 2);
  t.is(grew('upstream_failures_total', 'udp'), 0);
  t.is(grew('upstream_request_duration_seconds_count', 'udp'), 2);
});

/** Asks the pod's resolver several times from one socket, one after another, and prints who answered. */
const ONE_SOCKET = `
const socket = require('node:dgram').createSocket('udp4');
const [vip, ...names] = process.argv.slice(1);
const ask = () => {
  const labels = names[0].split('.').map((label) => String.fromCharCode(label.length) + label).join('');
  socket.send(Buffer.from('\\0\\x07\\x01\\0\\0\\x01\\0\\0\\0\\0\\0\\0' + labels + '\\0\\0\\x01\\0\\x01', 'latin1'), 53, vip);
};
socket.on('message', (bytes, from) => {
  console.log(from.address, from.port, bytes.readUInt16BE(6));
  names.shift();
  if (names.length === 0) socket.close(); else ask();
});
ask();
`;

test.serial(
  'many questions of one socket are answered under the address that was asked',
  async (t) => {
    const resolver = '10.96.0.10';
    const names = [`web.${SUFFIX}`, 'nosuch.example.org', 'api.bought.example', `db.${SUFFIX}`];
    const { stdout } = await mesh.exec('shop/client', [
      ...['timeout', '10', process.execPath, '-e', ONE_SOCKET, resolver],
      ...names,
    ]);
    t.deepEqual(
      stdout.trim().split('\n'),
      [1, 0, 1, 1].map((count) => `${resolver} 53 ${count}`),
    );
  },
);

test.serial('a call by a name that only the mesh knows reaches its endpoint by name', async (t) => {
  const ip = await mesh.ip('db');
  await mesh.apply(
    serviceEntry('by-name', {
      hosts: ['by-name.example'],
      addresses: ['240.0.0.20'],
      location: 'MESH_EXTERNAL',
      resolution: 'DNS',
      ports: [{ number: 80, name: 'tcp', protocol: 'TCP', targetPort: 9000 }],
      endpoints: [{ address: `${ip.replaceAll('.', '-')}.db.${SUFFIX}` }],
    }),
  );
  const db = await mesh.peer('db');
  await db.listen(9000);
  const client = await mesh.peer('client');
  const before = await mesh.metrics('node-1');
  t.like(await client.say('by-name.example', 80, 'hello'), { text: 'hello', ended: 'end' });
  const after = await mesh.metrics('node-1');
  t.is(after.growth(before, 'istio_on_demand_dns_total'), 1);
});

/** Resolves a name again and again until the file is there, and prints what went wrong. */
const RESOLVE_UNTIL = `
n=0
while [ ! -e "$1" ]; do
  n=$((n+1))
  got=$(dig +tries=1 +time=2 +short "$2")
  [ "$got" = "$3" ] || echo "wrong: $got"
done
echo "asked $n"
`;

test.serial('no name is lost while one proxy takes the place of another', async (t) => {
  const client = await mesh.peer('client');
  const open = await client.connect('by-name.example', 80);
  t.true(await open.echo('before'));
  const [done, name, ip] = [temporaryPath(t), `web.${SUFFIX}`, await mesh.vip('web')];
  const resolving = mesh.exec('shop/client', ['sh', '-c', RESOLVE_UNTIL, 'sh', done, name, ip]);
  await mesh.part('ztunnel-node-1', 'replace');
  await mesh.settled();
  t.true(await open.echo('the old one goes on'));
  await open.end(); // and with it the old proxy
  t.like(await open.ended(), { how: 'end' });
  await mesh.settled();
  writeFileSync(done, '');
  t.regex((await resolving).stdout, /^asked [1-9][0-9]*\n$/);
});

test.serial('the next proxy answers where the one before did', async (t) => {
  const client = await mesh.peer('client');
  for (const action of ['restart', 'kill'] as const) {
    await mesh.part('ztunnel-node-1', action);
    await mesh.settled();
    t.is(await dig('client', '+short', `web.${SUFFIX}`), `${await mesh.vip('web')}\n`);
    t.like(await client.say('by-name.example', 80, action), { text: action });
  }
});

function temporaryPath(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'halo-dns-'));
  t.teardown(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return join(folder, 'done');
}
