/** Attacks on port 15008 of a real proxy: peers that have an identity, and use it for harm. */
import test, { type ExecutionContext } from 'ava';
import { HBONE_PORT, INBOUND_PLAINTEXT_PORT, OUTBOUND_PORT } from '../../mesh/model/ports.ts';
import {
  CONTINUATION,
  DATA,
  FLAG_END_STREAM,
  GOAWAY,
  HEADERS,
  RST_STREAM,
} from '../../net/h2/frame.ts';
import { SERVER_STREAMS } from '../../net/h2/limits.ts';
import { TlsContext } from '../../net/tls-context.ts';
import { openCertificateRelay } from '../support/certificate-relay.ts';
import type { Collector } from '../support/collect.ts';
import { frame, headers, request, u32 } from '../support/h2-frames.ts';
import { RawPeer } from '../support/h2-peer.ts';
import { CLIENT } from '../support/hbone-peer.ts';
import { TestNode, type TestPod } from '../support/ztunnel-pods.ts';

const E = FLAG_END_STREAM;
const APP_PORT = 8080;

type Rig = Readonly<{
  node: TestNode;
  server: TestPod;
  other: TestPod;
  /** What reached the app, one entry a connection. */
  apps: Collector[];
  /** An attacker in a pod of its own, whose session has begun in order. */
  attacker: () => Promise<RawPeer>;
}>;

async function openRig(t: ExecutionContext): Promise<Rig> {
  const node = await TestNode.open(t);
  const client = node.addPlain({ name: 'client' });
  const server = node.addPod({ name: 'server' });
  const other = node.addPod({ name: 'other' });
  other.listen(APP_PORT, () => {
    t.fail('reached another pod');
  });
  const apps: Collector[] = [];
  server.listen(APP_PORT, (app) => apps.push(app));
  const context = new TlsContext(node.ca.issue(CLIENT));
  const target = { ip: server.ip, port: HBONE_PORT };
  const port = await openCertificateRelay(t, context, target, { netns: client.netns });
  const attacker = async (): Promise<RawPeer> => {
    const peer = await RawPeer.connect(port);
    t.teardown(() => peer.socket.destroy());
    await peer.begin();
    return peer;
  };
  return { node, server, other, apps, attacker };
}

const connect = (id: number, authority: string, flags = 0, ...more: string[]): Buffer =>
  headers(id, flags, ':method', 'CONNECT', ':authority', authority, ...more);
const data = (id: number, text: string, flags = 0): Buffer =>
  frame(DATA, flags, id, Buffer.from(text, 'latin1'));

/** `HEADERS stream status` or `RST stream code`, leaving out the RST_STREAM that tells not to send the rest. */
async function answer(peer: RawPeer): Promise<string> {
  for (;;) {
    const found = await peer.answer();
    if (!/^RST \d+ 0$/.test(found)) return found;
  }
}

/** The server still serves: a tunnel of a new session carries bytes. */
async function checkAlive(t: ExecutionContext, { server, apps, attacker }: Rig): Promise<void> {
  const before = apps.length;
  const peer = await attacker();
  peer.send(connect(1, `${server.ip}:${APP_PORT}`), data(1, 'alive'));
  t.is(await answer(peer), 'HEADERS 1 200');
  await apps[before]?.until(({ text }) => text === 'alive');
  t.is(apps.length, before + 1);
}

test.serial('H1: rapid reset of tunnels is ended, and no tunnel is left', async (t) => {
  const rig = await openRig(t);
  const peer = await rig.attacker();
  const to = `${rig.server.ip}:${APP_PORT}`;
  for (let id = 1; id < 1000; id += 2) peer.send(connect(id, to), frame(RST_STREAM, 0, id, u32(8)));
  t.is((await peer.next((f) => f.type === GOAWAY)).payload.readUInt32BE(4), 11);
  await peer.untilEnd();
  await rig.node.until(() => [...rig.node.connections.all()].length === 0);
  await checkAlive(t, rig);
});

test.serial('H3: a flood of CONTINUATION on port 15008 is ended', async (t) => {
  const rig = await openRig(t);
  const peer = await rig.attacker();
  const part = frame(CONTINUATION, 0, 1);
  peer.send(frame(HEADERS, 0, 1), ...Array.from({ length: 500 }, () => part));
  t.is((await peer.next((f) => f.type === GOAWAY)).payload.readUInt32BE(4), 11);
  await peer.untilEnd();
  await checkAlive(t, rig);
});

test.serial(
  'H13: a tunnel whose client reads nothing takes no more than its window of the app',
  async (t) => {
    const rig = await openRig(t);
    const peer = await rig.attacker();
    peer.send(connect(1, `${rig.server.ip}:${APP_PORT}`));
    t.is(await answer(peer), 'HEADERS 1 200');
    void rig.apps[0]?.write(Buffer.alloc(64 << 20)).catch(() => undefined);
    const before = process.memoryUsage().arrayBuffers;
    // The peer gave 65,535 bytes and gives no more.
    await peer.data(65_535);
    await peer.ping();
    t.false(peer.pending().some(({ type }) => type === DATA));
    t.true(process.memoryUsage().arrayBuffers - before < 2 << 20);
    await checkAlive(t, rig);
  },
);

test.serial(
  'H16: what comes before the answer to CONNECT is the payload of that tunnel, or nothing',
  async (t) => {
    const rig = await openRig(t);
    const peer = await rig.attacker();
    const smuggled = 'GET /admin HTTP/1.1\r\nHost: x\r\n\r\n';
    const inner = connect(5, `${rig.server.ip}:${APP_PORT}`).toString('latin1');
    peer.send(
      connect(1, `${rig.other.ip}:${APP_PORT}`),
      data(1, smuggled),
      data(1, inner, E),
      connect(3, `${rig.server.ip}:${APP_PORT}`),
      data(3, inner),
      data(3, smuggled, E),
    );
    const answers = [await answer(peer), await answer(peer)].toSorted();
    t.deepEqual(answers, ['HEADERS 1 400', 'HEADERS 3 200']);
    await rig.apps[0]?.until(({ ended }) => ended);
    t.is(rig.apps[0]?.text, inner + smuggled, 'to its own app, byte for byte');
    t.is(rig.apps.length, 1, 'and to no other');
  },
);

test.serial('H17: an authority that is none is refused, whatever it resembles', async (t) => {
  const rig = await openRig(t);
  const peer = await rig.attacker();
  const { ip } = rig.server;
  let id = 1;
  const ask = async (...list: string[]): Promise<string> => {
    peer.send(headers(id, 0, ...list));
    const found = await answer(peer);
    const [kind = '', , what = ''] = found.split(' ');
    id += 2;
    return `${kind} ${what}`;
  };
  const tunnelTo = (authority: string): Promise<string> =>
    ask(':method', 'CONNECT', ':authority', authority);
  for (const authority of [
    ...['[fe80::1%eth0]:8080', '[fe80::1%25eth0]:8080', 'fe80::1:8080', `[${ip}]:8080`],
    ...[ip, `${ip}:`, `${ip}:0`, `${ip}:65536`, `${ip}:080`, `${ip}:+80`, `${ip}:8080:8080`],
    ...['127.1:8080', '2130706433:8080', '0x7f.0.0.1:8080', '010.0.0.1:8080', '-a.example:80'],
    ...['a_b.example:80', '*.example:80', `${'a'.repeat(64)}.example:80`, ':8080', 'a..b:80'],
  ])
    t.is(await tunnelTo(authority), 'HEADERS 400', authority);
  for (const authority of [
    `u@${ip}:8080`,
    `u:p@${ip}:8080`,
    `${ip}:8080/`,
    ` ${ip}:8080`,
    'ä:80',
    '',
  ])
    t.is(await tunnelTo(authority), 'RST 1', authority);
  const to = [':authority', `${ip}:${APP_PORT}`];
  t.is(await ask(':method', 'CONNECT', ':path', '/', ...to), 'RST 1');
  t.is(await ask(':method', 'CONNECT', ':scheme', 'https', ...to), 'RST 1');
  t.is(await ask(':method', 'CONNECT', ...to, ...to), 'RST 1');
  t.is(await ask(':method', 'CONNECT', ':method', 'CONNECT', ...to), 'RST 1');
  t.is(await ask(...request('GET')), 'HEADERS 400');
  t.deepEqual(rig.apps, []);
});

test.serial('H18: a tunnel to anything that is not this pod is refused', async (t) => {
  const rig = await openRig(t);
  const peer = await rig.attacker();
  const { server, other } = rig;
  let id = -1;
  const ask = async (authority: string): Promise<string> => {
    peer.send(connect((id += 2), authority));
    return (await answer(peer)).replace(/ \d+ /, ' ');
  };
  for (const authority of [
    ...['127.0.0.1:8080', '[::1]:8080', '0.0.0.0:8080', '[::]:8080', '[::ffff:127.0.0.1]:8080'],
    ...['169.254.169.254:80', '[fe80::1]:80', '224.0.0.1:80', '255.255.255.255:80'],
    ...['10.7.255.254:10250', `${other.ip}:${APP_PORT}`, `[::ffff:${other.ip}]:${APP_PORT}`],
  ])
    t.is(await ask(authority), 'HEADERS 400', authority);
  for (const port of [OUTBOUND_PORT, INBOUND_PLAINTEXT_PORT, HBONE_PORT])
    t.is(await ask(`${server.ip}:${port}`), 'HEADERS 503', `our own ${port}`);
  t.is(await ask('localhost:8080'), 'HEADERS 503');
  t.deepEqual(rig.apps, []);
  await checkAlive(t, rig);
});

test.serial(
  'H19: a tunnel with fields that would inject others is refused before it is judged',
  async (t) => {
    const rig = await openRig(t);
    const peer = await rig.attacker();
    const to = `${rig.server.ip}:${APP_PORT}`;
    let id = -1;
    for (const [name = '', value = ''] of [
      ['baggage', 'a=b\r\nc: d'],
      ['baggage', 'a\0b'],
      ['Baggage', 'a=b'],
      ['forwarded', 'for=1\nfor=2'],
      [':x', 'y'],
      ['connection', 'keep-alive'],
      ['transfer-encoding', 'chunked'],
      ['te', 'gzip'],
    ]) {
      peer.send(connect((id += 2), to, 0, name, value));
      t.is(await peer.answer(), `RST ${id} 1`, JSON.stringify([name, value]));
    }
    t.deepEqual(rig.apps, []);
    t.deepEqual(
      rig.node.log.filter(({ message }) => String(message).startsWith('connection')),
      [],
      'nothing of it was a connection',
    );
    await checkAlive(t, rig);
  },
);

test.serial('H23: a session has no more tunnels than its limit at a time', async (t) => {
  const rig = await openRig(t);
  const peer = await rig.attacker();
  const to = `${rig.server.ip}:${APP_PORT}`;
  for (let n = 0; n < SERVER_STREAMS + 20; n++) peer.send(connect(n * 2 + 1, to));
  const answers = { refused: 0, accepted: 0 };
  for (let n = 0; n < SERVER_STREAMS + 20; n++)
    if (/^RST \d+ 7$/.test(await peer.answer())) answers.refused++;
    else answers.accepted++;
  t.deepEqual(answers, { refused: 20, accepted: SERVER_STREAMS });
  peer.socket.destroy();
  await rig.node.until(() => [...rig.node.connections.all()].length === 0);
});
