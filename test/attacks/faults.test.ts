import { createHash, randomBytes } from 'node:crypto';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { join } from 'node:path';
import tls from 'node:tls';
import test, { type ExecutionContext } from 'ava';
import { resetSocket } from '../../base/reset-socket.ts';
import { parseIpAddress } from '../../base/address.ts';
import { allocateShared } from '../../net/native/memory.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { acceptTls } from '../../net/tls.ts';
import { TlsContext } from '../../net/tls-context.ts';
import { Collector } from '../support/collect.ts';
import { runProgram } from '../support/run-program.ts';
import { makeTestCa } from '../support/test-ca.ts';
import { TestNode, type TestPod } from '../support/ztunnel-pods.ts';

const LOSS_TIMEOUT_MS = 60_000;
/** What the kernel sends again under loss takes its own time, doubled each time. */
const LOSSY_BYTES = 128 << 10;

async function openPods(
  t: ExecutionContext,
): Promise<{ node: TestNode; client: TestPod; server: TestPod }> {
  const node = await TestNode.open(t);
  return { node, client: node.addPod({ name: 'client' }), server: node.addPod({ name: 'server' }) };
}

/** A connection through both proxies. */
async function connectPods(
  client: TestPod,
  server: TestPod,
): Promise<{ app: Collector; backend: Collector }> {
  const accepted = server.accept(8080);
  const app = await client.connect(server.ip, 8080);
  const { app: backend } = await accepted;
  return { app, backend };
}

const digest = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');

function pairEnds({ app, backend }: { app: Collector; backend: Collector }): Promise<void>[] {
  return [app, backend].map((end) => end.until((c) => c.ended || c.error !== undefined));
}

/** Sends so much each way at once, then ends; byte-exact, and in order at both ends. */
async function exchange(
  t: ExecutionContext,
  { app, backend }: { app: Collector; backend: Collector },
  bytes: number,
): Promise<void> {
  const [there, back] = [randomBytes(bytes), randomBytes(bytes)];
  await Promise.all([app.write(there), backend.write(back)]);
  app.stream.end();
  backend.stream.end();
  await Promise.all(pairEnds({ app, backend }));
  t.is(app.error, undefined);
  t.is(backend.error, undefined);
  t.is(digest(backend.data), digest(there));
  t.is(digest(app.data), digest(back));
}

test.serial('R7: with packets of 576 bytes at most, all arrives as it was sent', async (t) => {
  const { client, server } = await openPods(t);
  for (const pod of [client, server]) pod.run('ip link set eth0 mtu 576');
  await exchange(t, await connectPods(client, server), 2 << 20);
});

test.serial(
  'R7: with 30 % of packets lost either way, what arrives is what was sent, and an end is no lie',
  async (t) => {
    t.timeout(2 * LOSS_TIMEOUT_MS);
    const { client, server } = await openPods(t);
    const pair = await connectPods(client, server);
    // Between the nodes alone: what the app and its own proxy say to each other crosses no wire.
    server.run(
      'nft -f -',
      `table inet loss {
      chain in {
        type filter hook input priority -300; policy accept;
        iifname "eth0" numgen random mod 100 < 30 counter drop
      }
      chain out {
        type filter hook output priority -300; policy accept;
        oifname "eth0" numgen random mod 100 < 30 counter drop
      }
    }
`,
    );
    const { app, backend } = pair;
    const [there, back] = [randomBytes(LOSSY_BYTES), randomBytes(LOSSY_BYTES)];
    const sent = [app.write(there), backend.write(back)];
    void Promise.allSettled(sent).then(() => {
      app.stream.end();
      backend.stream.end();
    });
    await Promise.all(pairEnds(pair));
    // So much loss may take a session for dead: that is an error, and never an end of less than all.
    for (const [end, whole] of [
      [app, back],
      [backend, there],
    ] as const) {
      t.is(digest(end.data), digest(whole.subarray(0, end.received)));
      if (end.error === undefined) t.is(end.received, whole.length);
    }
    t.regex(server.run('nft list table inet loss'), /counter packets [1-9]/);
  },
);

test.serial('R7: both ends that end at once both see an end, and nothing is left', async (t) => {
  const { node, client, server } = await openPods(t);
  for (let count = 0; count < 20; count++) {
    const { app, backend } = await connectPods(client, server);
    app.stream.end();
    backend.stream.end();
    await Promise.all([app, backend].map((end) => end.until((c) => c.ended)));
  }
  await node.until(() => node.connections.size === 0);
  t.is(node.log.filter(({ error }) => error !== undefined).length, 0);
});

test.serial('R7: writes of nothing send nothing and end nothing', async (t) => {
  const { client, server } = await openPods(t);
  const { app, backend } = await connectPods(client, server);
  for (let count = 0; count < 100; count++)
    for (const end of [app, backend]) {
      await end.write('');
      t.is(end.stream.write(allocateShared(64), 0, 0), 0);
    }
  await app.write('then');
  await backend.until((c) => c.received === 4);
  t.false(app.ended || backend.ended);
  await exchange(t, await connectPods(client, server), 1);
});

test.serial(
  'R7: urgent data is a byte among others, or none, and never out of order',
  async (t) => {
    const { client, server } = await openPods(t);
    const accepted = server.accept(8080);
    // Node sends no urgent data.
    const script = `
    use Socket;
    socket(my $s, AF_INET, SOCK_STREAM, 0) or die;
    connect($s, sockaddr_in(8080, inet_aton("${server.ip}"))) or die $!;
    send($s, "before", 0); send($s, "!", MSG_OOB); send($s, "after", 0);
    shutdown($s, 1); sysread($s, my $answer, 1);`;
    const child = spawn(
      'nsenter',
      [`--net=/proc/${process.pid}/fd/${client.netns.fd}`, 'perl', '-e', script],
      { stdio: 'ignore' },
    );
    const closed = once(child, 'close');
    const { app: backend } = await accepted;
    await backend.until((c) => c.ended || c.error !== undefined);
    t.true(['beforeafter', 'before!after'].includes(backend.text), backend.text);
    backend.stream.end();
    await closed;
  },
);

for (const where of ['in the middle of a record', 'in the middle of the handshake'] as const)
  test.serial(`R7: a reset ${where} is an error, not an end`, async (t) => {
    const ca = makeTestCa();
    const context = new TlsContext(ca.issue('spiffe://cluster.local/ns/shop/sa/server'));
    const peer = ca.issue('spiffe://cluster.local/ns/shop/sa/client');
    const outcome = Promise.withResolvers<Collector | Error>();
    const address = { ip: parseIpAddress('127.0.0.1'), port: 0 };
    const listener = listenTcp({ address }, (stream) => {
      acceptTls(stream, context).then((session) => {
        outcome.resolve(new Collector(session));
      }, outcome.resolve);
    });
    t.teardown(() => {
      listener.close();
      context.free();
    });
    // Between them: lets the handshake pass, then cuts a record in two.
    const socket = net.connect(listener.local.port, '127.0.0.1');
    socket.on('error', () => undefined);
    if (where === 'in the middle of the handshake') {
      await once(socket, 'connect');
      socket.write(Buffer.from('1603010200010001fc0303', 'hex'));
      setImmediate(() => {
        resetSocket(socket);
      });
      t.true((await outcome.promise) instanceof Error);
      return;
    }
    const secure = tls.connect({
      ...{ socket, rejectUnauthorized: false, ALPNProtocols: ['h2'] },
      ...{ key: peer.privateKeyPem, cert: peer.chainPem.join('') },
    });
    secure.on('error', () => undefined);
    await once(secure, 'secureConnect');
    const session = await outcome.promise;
    if (session instanceof Error) throw session;
    secure.write('whole');
    await session.until((c) => c.received === 5);
    // A record that announces 64 bytes, of which 20 come.
    socket.write(Buffer.concat([Buffer.from('1703030040', 'hex'), randomBytes(20)]), () => {
      resetSocket(socket);
    });
    await session.until((c) => c.ended || c.error !== undefined);
    t.false(session.ended);
    t.is(session.text, 'whole');
  });

test.serial('R7: a reset through two proxies is a reset, in both directions', async (t) => {
  const { client, server } = await openPods(t);
  for (const first of ['app', 'backend'] as const) {
    const pair = await connectPods(client, server);
    const other = first === 'app' ? pair.backend : pair.app;
    await pair[first].write('half a mess');
    await other.until((c) => c.received === 11);
    pair[first].stream.reset();
    await other.until((c) => c.ended || c.error !== undefined);
    t.false(other.ended, first);
  }
});

test.serial(
  'R6: a program whose log cannot be written, for the disk is full, works and ends in order',
  async (t) => {
    const program = join(import.meta.dirname, '../mesh/runtime/fixtures/program.ts');
    const command = 'exec "$0" --disable-warning=ExperimentalWarning "$1" >/dev/full 2>&1';
    const { code } = await runProgram('sh', ['-c', command, process.execPath, program], {
      env: { PORT: '3' }, // it ends itself
    });
    t.is(code, 0);
  },
);

test.serial('no rule, namespace or process is left', (t) => {
  t.false(
    execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' }).includes(`halo-zt-${process.pid}-`),
  );
});
