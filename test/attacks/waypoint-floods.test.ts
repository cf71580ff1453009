/**
 * Attacks on a real waypoint by a workload of the mesh, at each door: its listener for tunnels, and HTTP inside of a tunnel.
 * Beside each a client that means no harm is served, and what the attack took is given back.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { socketAddress } from '../../base/address.ts';
import { processTree } from '../../bench/harness/processes.ts';
import { PROXY_MARK } from '../../deploy/node-agent/rules.ts';
import { HBONE_PORT } from '../../mesh/model/ports.ts';
import { DATA, FLAG_END_STREAM, HEADERS } from '../../net/h2/frame.ts';
import { TlsContext } from '../../net/tls-context.ts';
import { openCertificateRelay } from '../support/certificate-relay.ts';
import { withDeadline } from '../support/deadline.ts';
import { data, headers, request, setting, windowUpdate } from '../support/h2-frames.ts';
import { makeFloods } from '../support/h2-floods.ts';
import { RawPeer } from '../support/h2-peer.ts';
import { HarmlessRequests } from '../support/harmless-requests.ts';
import { RawSocket } from '../support/http1-peer.ts';
import { growthUntilFlat } from '../support/memory.ts';
import { startMesh } from '../support/mesh.ts';
import { policyYaml } from '../support/mesh-policies.ts';
import { genuineCertificate } from '../support/mesh-tunnels.ts';
import { waypointPods, waypointReady, waypointYaml } from '../support/mesh-waypoints.ts';
import {
  namespaceYaml,
  podYaml,
  serverPodYaml,
  waypointServiceYaml,
} from '../support/mesh-yaml.ts';
import { openPodNetns, openPodRelay } from '../support/pod-relay.ts';

/** Says `ok`, to some paths never, to others more than anybody keeps; tells what it was asked. */
const SERVER = `const asked = [];
const big = Buffer.alloc(1 << 20, 'x');
const serve = (request, response) => {
  if (request.url === '/asked') return response.end(JSON.stringify(asked));
  if (request.url !== '/harmless') asked.push(request.method + ' ' + request.url);
  if (request.url === '/never') return request.resume();
  if (request.url !== '/big') return response.end('ok');
  const push = () => { while (response.write(big)); };
  response.on('drain', push);
  push();
};
require('node:http').createServer(serve).listen(8080);
require('node:http2').createServer(serve).listen(8081);`;

const SERVER_YAML = [
  serverPodYaml('web', { program: SERVER, port: 8081 }),
  waypointServiceYaml('web', {
    morePorts: [
      { name: 'http2', port: 81, targetPort: 8081 },
      { name: 'tcp', port: 82, targetPort: 8080 },
    ],
  }),
].join('');

const E = FLAG_END_STREAM;
const IDENTITY = 'spiffe://cluster.local/ns/shop/sa/attacker';
/** What an attack's end may take on a loaded machine. */
const END_MS = 15_000;
/** Far beyond what a request takes beside an attack, on a loaded machine too. */
const LONGEST_WAIT_MS = 2_000;
const SETTLE_MS = 10_000;
/** A flood's memory goes back to the system within some seconds. */
const SHRINK_MS = 4_000;
const REFUSED_PAUSE_MS = 50;
/** Tunnels to the server, and of the attacker's ztunnel, are kept for a while: a hundred in a session. */
const KEPT_SESSIONS = 4;
/** For what should not come to come. */
const QUIET_MS = 200;
const ROUNDS = 3;
/** Of the waypoint's private memory for all attacks once: a few pages of what is still in use. */
const FLAT_BYTES = 4 << 20;
/** Of an answer that nobody reads: windows, queues and socket buffers, and not the answer. */
const HELD_BYTES = 32 << 20;

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    podYaml('client', { node: 'node-1' }),
    podYaml('attacker', { node: 'node-1' }),
    waypointYaml('waypoint'),
    SERVER_YAML,
  ].join(''),
});

let vip = '';
let waypointIp = '';
let waypointPid = 0;

test.serial.before('the waypoint runs', async () => {
  await waypointReady(mesh, 'waypoint');
  vip = await mesh.vip('web');
  const [pod = ''] = await waypointPods(mesh, 'waypoint');
  waypointIp = await mesh.ip(pod);
  const { supervisorPid } = await mesh.sandbox.status();
  const runsWaypoint = (pid: number): boolean =>
    readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('waypoint/main.ts');
  waypointPid = processTree(supervisorPid).find(runsWaypoint) ?? 0;
});

function waypointDescriptors(): number {
  return readdirSync(`/proc/${waypointPid}/fd`).length;
}

function waypointPrivateBytes(): number {
  const rollup = readFileSync(`/proc/${waypointPid}/smaps_rollup`, 'utf8');
  return Number(/^Private_Dirty:\s+(\d+) kB$/m.exec(rollup)?.[1] ?? Infinity) * 1024;
}

/** By a tunnel of the attacker's own ztunnel, where it speaks HTTP to the service: its port on loopback. */
async function openInside(t: ExecutionContext, pod = 'attacker', port = 80): Promise<number> {
  return openPodRelay(t, await openPodNetns(t, mesh, pod), socketAddress(vip, port));
}

/** To the listener for tunnels itself, with the attacker's certificate. */
async function openListener(t: ExecutionContext): Promise<number> {
  const certificate = await genuineCertificate(mesh, 'node-1', IDENTITY);
  const rootsPem = [readFileSync(mesh.sandbox.paths.rootCertificate, 'utf8')];
  const context = new TlsContext({ ...certificate, rootsPem });
  t.teardown(() => {
    context.free();
  });
  return openCertificateRelay(t, context, socketAddress(waypointIp, HBONE_PORT), {
    netns: await openPodNetns(t, mesh, 'attacker'),
    mark: PROXY_MARK,
  });
}

/** An address that did harm has to wait for its next session: a waypoint gives it two a second. */
async function begin(t: ExecutionContext, port: number, ...first: Buffer[]): Promise<RawPeer> {
  const begun = async (): Promise<RawPeer> => {
    for (;;) {
      const peer = await RawPeer.connect(port);
      t.teardown(() => peer.socket.destroy());
      try {
        await peer.begin(...first);
        return peer;
      } catch {
        await pause(REFUSED_PAUSE_MS);
      }
    }
  };
  return withDeadline(begun(), END_MS, 'a session begins');
}

/** Sends all of it at once on a connection of its own, and tells how that ends. */
async function attack(
  t: ExecutionContext,
  port: number,
  frames: readonly Buffer[],
): Promise<string> {
  const peer = await begin(t, port);
  peer.send(...frames);
  const end = await withDeadline(peer.end(), END_MS, 'an attack is ended');
  peer.socket.destroy();
  return end;
}

async function expectUnharmed(
  t: ExecutionContext,
  attacking: () => Promise<unknown>,
): Promise<void> {
  const harmless = new HarmlessRequests(await openInside(t, 'client'));
  while (harmless.answered === 0 && harmless.failures.length === 0) await pause(1);
  const descriptors = waypointDescriptors();
  try {
    await attacking();
  } finally {
    await harmless.stop();
  }
  t.deepEqual(harmless.failures, []);
  t.true(harmless.longestMs < LONGEST_WAIT_MS, `${harmless.longestMs} ms`);
  const isBack = async (): Promise<void> => {
    while (waypointDescriptors() > descriptors + KEPT_SESSIONS) await pause(10);
  };
  await withDeadline(isBack(), SETTLE_MS, 'what was opened is closed');
}

const inTunnel = (method = 'GET'): string[] => request(method, '/never');
const atListener = (): string[] => [':method', 'CONNECT', ':authority', `${vip}:80`];
const DOORS = [
  ['HTTP/2 in a tunnel', openInside, inTunnel],
  ['the listener for tunnels', openListener, atListener],
] as const;

for (const [door, open, list] of DOORS)
  for (const [index, { title }] of makeFloods(list).entries())
    test.serial(`${title} is ended by ${door}`, async (t) => {
      const { frames = [], end = '' } = makeFloods(list)[index] ?? {};
      const port = await open(t);
      await expectUnharmed(t, async () => {
        t.is(await attack(t, port, frames), end);
      });
    });

test.serial('all attacks again and again leave a waypoint as large as it was', async (t) => {
  t.timeout(120_000);
  const port = await openInside(t);
  const all = async (): Promise<void> => {
    for (const { frames } of makeFloods(inTunnel)) await attack(t, port, frames);
  };
  await all();
  const growth = await growthUntilFlat(async (factor) => {
    const before = waypointPrivateBytes();
    for (let round = 0; round < ROUNDS * factor; round++) await all();
    const settled = performance.now() + SHRINK_MS;
    while (waypointPrivateBytes() - before >= FLAT_BYTES * factor && performance.now() < settled)
      await pause(100);
    return (waypointPrivateBytes() - before) / factor;
  }, FLAT_BYTES);
  t.log(growth.map((bytes) => `${Math.round(bytes / 1024)} KiB`).join());
  t.true((growth.at(-1) ?? Infinity) < FLAT_BYTES, growth.join());
});

test.serial(
  'H13: an answer of which nobody reads, or a byte, is not held by a waypoint',
  async (t) => {
    const port = await openInside(t);
    await expectUnharmed(t, async () => {
      const before = waypointPrivateBytes();
      const peer = await begin(t, port, setting(4, 0));
      const ids = Array.from({ length: 20 }, (_, index) => index * 2 + 1);
      for (const id of ids) peer.send(headers(id, E, ...request('GET', '/big')));
      const unanswered = new Set(ids); // answers come in any order
      while (unanswered.size > 0)
        unanswered.delete((await peer.next((f) => f.type === HEADERS)).streamId);
      peer.send(...ids.map((id) => windowUpdate(id, 1)));
      t.is((await peer.data(ids.length)).length, ids.length);
      await pause(QUIET_MS);
      t.false(
        peer.pending().some(({ type }) => type === DATA),
        'a byte each, and no more',
      );
      const held = waypointPrivateBytes() - before;
      t.log(`${held >> 10} KiB for ${ids.length} answers`);
      t.true(held < HELD_BYTES, `${held} bytes`);
      peer.socket.destroy();
    });
  },
);

test.serial(
  'H16: what comes before the answer to CONNECT is the payload of that tunnel, or nothing',
  async (t) => {
    const port = await openListener(t);
    await expectUnharmed(t, async () => {
      const peer = await begin(t, port);
      const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: web\r\n\r\n';
      const asked = 'GET /of-its-tunnel HTTP/1.1\r\nHost: web\r\n\r\n';
      peer.send(
        headers(1, 0, ':method', 'CONNECT', ':authority', '10.0.0.1:80'),
        data(1, E, smuggled),
        headers(3, 0, ...atListener()),
        data(3, 0, asked),
      );
      // A waypoint waits to be told of an address that it does not know: the second is answered first.
      const accepted = await peer.next((f) => f.type === HEADERS);
      t.deepEqual([accepted.streamId, peer.decode(accepted)[1]], [3, '200']);
      const { payload } = await peer.next((f) => f.type === DATA && f.streamId === 3);
      t.regex(payload.toString('latin1'), /^HTTP\/1\.1 200 /);
      const refused = await peer.next((f) => f.type === HEADERS);
      t.deepEqual([refused.streamId, peer.decode(refused)[1]], [1, '400']);
      peer.socket.destroy();
    });
    t.deepEqual(
      (await askedOf(t)).filter((line) => /smuggled|of-its/.test(line)),
      ['GET /of-its-tunnel'],
    );
  },
);

const refusals = async (
  t: ExecutionContext,
  port: number,
  lists: readonly (readonly [fields: readonly string[], answer: RegExp])[],
): Promise<void> => {
  let peer = await begin(t, port);
  let id = 1;
  for (const [fields, answer] of lists) {
    peer.send(headers(id, 0, ...fields));
    let found = '';
    do found = await withDeadline(peer.answer(), END_MS, fields.join());
    while (/^RST \d+ 0$/.test(found));
    t.regex(found.replace(/ \d+ /, ' '), answer, fields.join());
    id += 2;
    if (found !== 'end' && !found.startsWith('GOAWAY')) continue;
    peer = await begin(t, port);
    id = 1;
  }
  peer.socket.destroy();
};
const tunnelTo = (authority: string): string[] => [':method', 'CONNECT', ':authority', authority];

test.serial('H17: an authority that is none is refused, whatever it resembles', async (t) => {
  const port = await openListener(t);
  const refused = [
    ...['[fe80::1%eth0]:80', '[fe80::1%25eth0]:80', 'fe80::1:80', `[${vip}]:80`, vip, `${vip}:`],
    ...[`${vip}:0`, `${vip}:65536`, `${vip}:080`, `${vip}:+80`, `${vip}:80:80`, '127.1:80'],
    ...['2130706433:80', '0x7f.0.0.1:80', '-a.example:80', 'a_b.example:80', ':80', 'a..b:80'],
  ];
  const broken = [`u@${vip}:80`, `u:p@${vip}:80`, `${vip}:80/`, ` ${vip}:80`, 'ä:80', ''];
  await refusals(t, port, [
    ...refused.map((authority) => [tunnelTo(authority), /^HEADERS 400$/] as const),
    ...broken.map((authority) => [tunnelTo(authority), /^RST 1$/] as const),
    [[...tunnelTo(`${vip}:80`), ':path', '/'], /^RST 1$/],
    [[...tunnelTo(`${vip}:80`), ':scheme', 'https'], /^RST 1$/],
    [[...tunnelTo(`${vip}:80`), ':authority', `${vip}:80`], /^RST 1$/],
    [request('GET'), /^HEADERS 400$/],
  ]);
});

test.serial('H18: a tunnel to anything that does not use this waypoint is refused', async (t) => {
  const port = await openListener(t);
  const elsewhere = [
    ...['127.0.0.1:80', '[::1]:80', '0.0.0.0:80', '[::]:80', '169.254.169.254:80', '[fe80::1]:80'],
    ...[`${waypointIp}:15000`, `${waypointIp}:${HBONE_PORT}`, `${await mesh.ip('client')}:80`],
    ...['172.18.0.2:15012', 'localhost:80', 'other.shop.svc.cluster.local:80'],
  ];
  const peer = await begin(t, port);
  for (const [index, authority] of elsewhere.entries())
    peer.send(headers(index * 2 + 1, 0, ...tunnelTo(authority)));
  const refused = new Set<number>();
  while (refused.size < elsewhere.length) {
    const found = await withDeadline(
      peer.next((f) => f.type === HEADERS),
      END_MS,
      'a refusal',
    );
    t.is(peer.decode(found)[1], '400', elsewhere[found.streamId >> 1]);
    refused.add(found.streamId);
  }
  peer.socket.destroy();
});

test.serial(
  'H19, H21: by fields nothing is injected, and capitals in a scheme skip nothing',
  async (t) => {
    const inside = await openInside(t);
    const injections: readonly (readonly [string, string])[] = [
      ['a', 'b\r\nc: d'],
      ['a', 'b\0'],
      ['a\r\nc', 'd'],
      ['A', 'b'],
      ['connection', 'te'],
      ['transfer-encoding', 'chunked'],
      ['te', 'x'],
      ['upgrade', 'h2c'],
    ];
    await refusals(
      t,
      inside,
      injections.map((field) => [[...request('GET', '/injected'), ...field], /^RST 1$/]),
    );
    const peer = await begin(t, inside);
    const shouted = [':method', 'GET', ':scheme', 'HTTP', ':path', '/shouted', ':authority', 'web'];
    peer.send(headers(1, E, ...shouted));
    t.is(await peer.answer(), 'HEADERS 1 200');
    peer.socket.destroy();
    const asked = await askedOf(t);
    t.deepEqual(
      asked.filter((line) => /injected|shouted/.test(line)),
      ['GET /shouted'],
    );
  },
);

test.serial('H22: who asks to go on with HTTP/2 is not let in by it', async (t) => {
  const client = await RawSocket.connect(t, await openInside(t));
  client.send(
    'GET /upgrade HTTP/1.1\r\nHost: web\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n' +
      'HTTP2-Settings: AAMAAABk\r\n\r\n',
  );
  await withDeadline(
    client.until(({ text, ended }) => text.endsWith('ok') || ended !== undefined),
    END_MS,
    'an answer',
  );
  t.regex(client.text, /^HTTP\/1\.1 200 /);
  client.send('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  await withDeadline(client.untilEnd(), END_MS, 'the end');
  t.regex(client.text, /ok$|HTTP\/1\.1 (400|505) /);
  t.false((await askedOf(t)).some((line) => line.includes('PRI')));
});

test.serial(
  'H15: a port for HTTP/2 or gRPC serves both versions, and ends what is neither',
  async (t) => {
    const client = await RawSocket.connect(t, await openInside(t, 'attacker', 81));
    client.send('GET /in-text HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n');
    await withDeadline(client.untilEnd(), END_MS, 'the end');
    t.regex(client.text, /^HTTP\/1\.1 200 /);
    const neither = await RawSocket.connect(t, await openInside(t, 'attacker', 81));
    neither.send('INVALID CONNECTION PREFACE\r\n\r\n');
    await withDeadline(neither.untilEnd(), END_MS, 'the end');
    t.notRegex(neither.text, /HTTP\/1/);
    const peer = await begin(t, await openInside(t, 'attacker', 81));
    peer.send(headers(1, E, ...request('GET', '/in-frames')));
    t.is(await withDeadline(peer.answer(), END_MS, 'an answer'), 'HEADERS 1 200');
    peer.socket.destroy();
  },
);

test.serial(
  'A8: a policy that comes ends what was let in before it, within a second',
  async (t) => {
    t.timeout(60_000);
    const plain = await RawSocket.connect(t, await openInside(t, 'attacker', 82));
    plain.send('GET /before HTTP/1.1\r\nHost: web\r\n\r\n');
    await withDeadline(plain.untilText('ok'), END_MS, 'an answer by TCP');
    const requests = await RawSocket.connect(t, await openInside(t));
    requests.send('GET /before HTTP/1.1\r\nHost: web\r\n\r\n');
    await withDeadline(requests.untilText('ok'), END_MS, 'an answer by HTTP');
    t.is(plain.ended, undefined);
    const policy = policyYaml('without-the-attacker', {
      targetRefs: [{ group: '', kind: 'Service', name: 'web' }],
      action: 'DENY',
      rules: [{ from: [{ source: { principals: ['cluster.local/ns/shop/sa/attacker'] } }] }],
    });
    const harmless = new HarmlessRequests(await openInside(t, 'client'));
    await mesh.apply(policy); // every proxy has it
    await withDeadline(plain.untilEnd(), 1_000, 'a live connection is ended');
    t.not(plain.ended, 'end');
    const from = requests.text.length;
    requests.send('GET /after HTTP/1.1\r\nHost: web\r\n\r\n');
    await withDeadline(
      requests.until(({ text, ended }) => text.length > from || ended !== undefined),
      END_MS,
      'a refusal',
    );
    t.regex(requests.text.slice(from), /^HTTP\/1\.1 403 /);
    await harmless.stop();
    t.deepEqual(harmless.failures, []);
    t.false((await askedOf(t)).some((line) => line.endsWith('/after')));
    await mesh.delete('AuthorizationPolicy', 'without-the-attacker');
  },
);

/** What the server was asked, as it tells by a waypoint's own answer to a harmless client. */
async function askedOf(t: ExecutionContext): Promise<readonly string[]> {
  const client = await RawSocket.connect(t, await openInside(t, 'client'));
  client.send('GET /asked HTTP/1.1\r\nHost: web\r\n\r\n');
  await withDeadline(client.untilText(']'), END_MS, 'what was asked');
  return JSON.parse(client.text.slice(client.text.indexOf('['))) as string[];
}
