import test from 'ava';
import { startMesh } from '../support/mesh.ts';
import type { Peer } from '../support/mesh-peer.ts';
import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    namespaceYaml('legacy', {}),
    podYaml('client', { node: 'node-1' }),
    podYaml('web', { node: 'node-2' }),
    podYaml('old', { namespace: 'legacy', node: 'node-2' }),
    serviceYaml('web', { 80: 9000 }),
    serviceYaml('old', { 80: 9000 }, {}, 'legacy'),
    serviceYaml(
      'clock',
      {},
      {
        ...{
          selector: { app: 'web' },
          ports: [{ name: 'ntp', protocol: 'UDP', port: 123, targetPort: 9123 }],
        },
      },
    ),
  ].join(''),
});

const STRICT = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: shop }
spec: { mtls: { mode: STRICT } }
`;
const SERVED = 9000;
/** Its address on the sandbox's network. */
const OUTSIDE_IP = '172.18.0.3';
const CLIENT = 'spiffe://cluster.local/ns/shop/sa/client';
/** Of a connection of which the mesh proves nothing. */
const PLAIN = { 'src.identity': undefined, 'dst.identity': undefined, 'tls.group': undefined };
const PLAIN_METRIC = { connection_security_policy: 'unknown' };

let outside: Peer;
let client: Peer;
let web: Peer;
let old: Peer;
test.serial.before('the peers are ready', async () => {
  outside = await mesh.outside();
  client = await mesh.peer('client');
  web = await mesh.peer('web');
  old = await mesh.peer('legacy/old');
  for (const peer of [outside, web, old]) {
    await peer.listen(SERVED, 'queue');
    await peer.listen(SERVED + 1, 'echo');
  }
  await web.ask('udpEcho', { port: 9123 });
});

/** One exchange through a server that says whom it sees: the caller's address. */
async function callerSeen(
  from: Peer,
  to: Peer,
  host: string,
  text: string,
  port = SERVED,
): Promise<string> {
  const atClient = await from.connect(host, port);
  const atServer = await to.accept(SERVED);
  await atClient.write(text);
  const heard = (await atServer.read(text.length)).text;
  await atServer.write(heard);
  const back = (await atClient.read(text.length)).text;
  await atClient.end();
  await atServer.end();
  await atClient.ended();
  if (back !== text) throw new Error(`said ${text}, got ${back}`);
  return atServer.remote.slice(0, atServer.remote.lastIndexOf(':'));
}

test.serial(
  'a pod of the mesh calls the world outside in plain text, under its own address',
  async (t) => {
    const mark = mesh.mark();
    const before = await mesh.metrics('node-1');
    const text = `marker-${crypto.randomUUID()}`;
    const wire = await mesh.onBridge(outside, async () => {
      t.is(await callerSeen(client, outside, OUTSIDE_IP, text), await mesh.ip('client'));
    });
    t.true(wire.readable(text) > 0);
    const record = await mesh.record({ direction: 'outbound' }, mark);
    t.like(record, {
      ...{
        ...PLAIN,
        'src.workload': 'client',
        'dst.addr': `${OUTSIDE_IP}:${SERVED}`,
        error: undefined,
      },
      ...{ 'dst.workload': undefined, bytes_sent: text.length, bytes_recv: text.length },
    });
    const now = await mesh.metrics('node-1');
    const labels = { ...PLAIN_METRIC, reporter: 'source', destination_workload: 'unknown' };
    t.is(now.growth(before, 'istio_tcp_sent_bytes_total', labels), text.length);
  },
);

test.serial(
  'a pod of the mesh calls a plain pod in plain text, by address and by service',
  async (t) => {
    for (const [host, port] of [
      [await mesh.ip('legacy/old'), SERVED],
      ['old.legacy', 80],
    ] as const) {
      const mark = mesh.mark();
      const before = await mesh.metrics('node-1');
      const text = `marker-${crypto.randomUUID()}`;
      const wire = await mesh.onBridge(outside, async () => {
        t.is(await callerSeen(client, old, host, text, port), await mesh.ip('client'));
      });
      t.true(wire.readable(text) > 0);
      t.like(await mesh.record({ direction: 'outbound' }, mark), {
        ...{ ...PLAIN, 'src.workload': 'client', 'dst.workload': 'old', 'dst.namespace': 'legacy' },
        ...{ error: undefined, bytes_sent: text.length, bytes_recv: text.length },
      });
      const now = await mesh.metrics('node-1');
      const labels = { ...PLAIN_METRIC, reporter: 'source', destination_workload: 'old' };
      t.is(now.growth(before, 'istio_tcp_connections_closed_total', labels), 1);
      t.is(mesh.recordsSince(mark).filter(({ direction }) => direction === 'inbound').length, 0);
    }
  },
);

test.serial('a permissive pod takes plain calls, from outside and from plain pods', async (t) => {
  const ip = await mesh.ip('web');
  for (const [peer, address, workload] of [
    [outside, OUTSIDE_IP, undefined],
    [old, await mesh.ip('legacy/old'), 'old'],
  ] as const) {
    const mark = mesh.mark();
    const before = await mesh.metrics('node-2');
    t.is(await callerSeen(peer, web, ip, 'hello'), address);
    t.like(await mesh.record({ direction: 'inbound' }, mark), {
      ...{ ...PLAIN, 'src.workload': workload, 'dst.workload': 'web', error: undefined },
      ...{ 'dst.addr': `${ip}:${SERVED}`, bytes_sent: 5, bytes_recv: 5 },
    });
    const now = await mesh.metrics('node-2');
    const labels = { ...PLAIN_METRIC, reporter: 'destination', destination_workload: 'web' };
    t.is(now.growth(before, 'istio_tcp_received_bytes_total', labels), 5);
  }
});

test.serial('a STRICT pod refuses plain calls and takes those with an identity', async (t) => {
  await mesh.apply(STRICT);
  const ip = await mesh.ip('web');
  for (const peer of [outside, old]) {
    const mark = mesh.mark();
    const before = await mesh.metrics('node-2');
    t.like(await peer.say(ip, SERVED + 1, 'hello'), { text: '', ended: 'ECONNRESET' });
    const record = await mesh.record({ direction: 'inbound' }, mark);
    t.like(record, { ...PLAIN, 'dst.workload': 'web', bytes_sent: 0 });
    t.regex(record.error ?? '', /policy rejection.*static_strict/);
    const now = await mesh.metrics('node-2');
    const opened = { ...PLAIN_METRIC, reporter: 'destination', response_flags: '-' };
    t.is(now.growth(before, 'istio_tcp_connections_opened_total', opened), 0);
  }
  const mark = mesh.mark();
  t.like(await client.say(ip, SERVED + 1, 'hello'), { text: 'hello', ended: 'end' });
  t.like(await mesh.record({ direction: 'inbound' }, mark), {
    'src.identity': CLIENT,
    error: undefined,
  });
  await mesh.delete('PeerAuthentication', 'default');
  t.like(await outside.say(ip, SERVED + 1, 'hello'), { text: 'hello', ended: 'end' });
  await mesh.record({ 'src.workload': undefined, error: undefined }, mark);
  await mesh.record({ direction: 'outbound' }, mark);
});

test.serial('UDP and ICMP pass the mesh untouched', async (t) => {
  const mark = mesh.mark();
  const [clientIp, webIp] = [await mesh.ip('client'), await mesh.ip('web')];
  const before = await mesh.metrics('node-1');
  const text = `marker-${crypto.randomUUID()}`;
  const wire = await mesh.onBridge(outside, async () => {
    for (const family of [4, 6] as const) {
      const host = await mesh.ip('web', family);
      const answer = await client.ask('udpAsk', { host, port: 9123, text });
      const [from = '', said] = answer.text.split('|');
      t.is(said, text);
      t.true(from.includes(await mesh.ip('client', family)), from);
      // ICMP says that nobody listens.
      const refused = client.ask('udpAsk', { host, port: 9124, text: 'x' });
      t.like(await t.throwsAsync(refused), { code: 'ECONNREFUSED' });
      const { code, stdout } = await mesh.exec('client', [
        'ping',
        '-c',
        '2',
        '-i',
        '0.2',
        '-W',
        '5',
        host,
      ]);
      t.is(code, 0, stdout);
      t.regex(stdout, / 0% packet loss/);
    }
    const { text: answered } = await client.ask('udpAsk', {
      ...{ host: await mesh.vip('clock'), port: 123, text: 'what time is it' },
    });
    t.is(answered.split('|')[1], 'what time is it');
  });
  t.true(wire.readable(text) > 0);
  t.deepEqual(wire.between([clientIp, webIp]), [], 'TCP');
  t.deepEqual(mesh.recordsSince(mark), []);
  const now = await mesh.metrics('node-1');
  t.is(now.growth(before, 'istio_tcp_connections_opened_total'), 0);
});
