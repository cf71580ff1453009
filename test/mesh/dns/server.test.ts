import { execFile } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { parseIpAddress, socketAddress, type SocketAddress } from '../../../base/address.ts';
import type { AnswerEvent } from '../../../mesh/dns/answer.ts';
import { DnsCache } from '../../../mesh/dns/cache.ts';
import { Forwarder } from '../../../mesh/dns/forward.ts';
import type { NameScope } from '../../../mesh/dns/names.ts';
import { DnsServer } from '../../../mesh/dns/server.ts';
import { connectTcp } from '../../../net/tcp.ts';
import { listenTcp } from '../../../net/tcp-listener.ts';
import { openUdp } from '../../../net/udp.ts';
import { testService } from '../proxy/fixtures/workload.ts';
import { POINTER, query, record, response } from './fixtures.ts';

const loopback = parseIpAddress('127.0.0.1');
const dig = promisify(execFile);
const server = testService('server', {
  addresses: ['10.96.0.1', 'fd00::1'].map((ip) => ({ network: '', ip: parseIpAddress(ip) })),
});
const scope: NameScope = {
  ...{ clientNamespace: 'apps', network: '', clusterDomain: 'cluster.local', ipv6: true },
};
const known: AnswerEvent['outcome'][] = ['mesh'];

type Running = { port: number; outcomes: AnswerEvent['outcome'][]; forget: () => void };

/** The server on the engine's own sockets, in front of resolvers that the test plays. */
function serve(
  t: ExecutionContext,
  resolvers: readonly SocketAddress[],
  options: Readonly<{ timeoutMs?: number; maxInFlight?: number; cache?: DnsCache }> = {},
): Running {
  const outcomes: AnswerEvent['outcome'][] = [];
  let client: NameScope | undefined = scope;
  const forwarder = new Forwarder({
    ...{ resolvers, cache: new DnsCache(), ...options },
    sockets: { openUdp: () => openUdp({ local: { ip: loopback, port: 0 } }), connectTcp },
  });
  // The port is TCP's to choose: connections of other tests hold many of its ports, and few of UDP's.
  const tcp = listenTcp({ address: { ip: loopback, port: 0 } }, (stream) => {
    dns.serveStream(stream);
  });
  const udp = openUdp({ local: { ip: loopback, port: tcp.local.port } });
  const dns = new DnsServer(
    {
      lookup: {
        servicesByHost: (host) => (host === server.hostname ? [server] : []),
        endpoints: () => new Map(),
      },
      scope: () => client,
      forwarder,
      onEvent: ({ outcome }) => outcomes.push(outcome),
    },
    [udp],
  );
  t.teardown(() => {
    tcp.close();
    dns[Symbol.dispose]();
  });
  const forget = (): void => {
    client = undefined;
  };
  return { port: udp.local.port, outcomes, forget };
}

async function ask(port: number, ...args: readonly string[]): Promise<string> {
  const common = ['@127.0.0.1', '-p', String(port), '+tries=1', '+time=10', '+nostats', '+nocmd'];
  const { stdout } = await dig('dig', [...common, ...args]);
  return stdout;
}

/** A resolver: what it does with each query is the test's to say. */
async function playResolver(
  t: ExecutionContext,
  onQuery: (asked: Buffer, reply: (bytes: Buffer) => void, socket: Socket) => void,
  port = 0,
): Promise<{ address: SocketAddress; queries: Buffer[]; ports: Set<number> }> {
  const socket = createSocket('udp4');
  const queries: Buffer[] = [];
  const ports = new Set<number>();
  socket.on('message', (asked, from) => {
    queries.push(asked);
    ports.add(from.port);
    onQuery(
      asked,
      (bytes) => {
        socket.send(bytes, from.port, from.address);
      },
      socket,
    );
  });
  socket.bind(port, '127.0.0.1');
  await once(socket, 'listening');
  t.teardown(() => socket.close());
  return { address: socketAddress('127.0.0.1', socket.address().port), queries, ports };
}

function addressRecord(lastByte: number, ttl = 300): Buffer {
  return record(POINTER, 1, ttl, Buffer.from([192, 0, 2, lastByte]));
}

test('dig gets the VIP of a service over UDP and TCP, authoritative, with a TTL of 30 s', async (t) => {
  const { port, outcomes } = serve(t, []);
  for (const transport of ['+notcp', '+tcp']) {
    const out = await ask(port, transport, 'server.apps.svc.cluster.local', 'A');
    t.regex(out, /status: NOERROR/);
    t.regex(out, /flags: qr aa rd ra;/);
    t.regex(out, /^server\.apps\.svc\.cluster\.local\. 30 IN\sA\s10\.96\.0\.1$/m);
  }
  t.regex(await ask(port, 'server', 'AAAA'), /AAAA\sfd00::1/);
  t.deepEqual(outcomes, ['mesh', 'mesh', 'mesh']);
});

test('dig gets a CNAME for a name with a search suffix behind it', async (t) => {
  const { port } = serve(t, []);
  const asked = 'server.apps.svc.cluster.local.apps.svc.cluster.local';
  const out = await ask(port, '+short', asked, 'A');
  t.is(out, 'server.apps.svc.cluster.local.\n10.96.0.1\n');
});

test('a name that is not of the mesh is forwarded, with the client’s id and the case it asked in', async (t) => {
  const resolver = await playResolver(t, (asked, reply) => {
    reply(response(asked, [addressRecord(7)]));
  });
  const { port, outcomes } = serve(t, [resolver.address]);
  const out = await ask(port, 'WwW.Example.Org', 'A');
  t.regex(out, /^WwW\.Example\.Org\.\s+300\sIN\sA\s192\.0\.2\.7$/m);
  t.deepEqual(outcomes, ['forwarded']);
});

test('other types of a mesh name are forwarded, and NXDOMAIN is passed on', async (t) => {
  const resolver = await playResolver(t, (asked, reply) => {
    reply(response(asked, [], { rcode: 3 }));
  });
  const { port } = serve(t, [resolver.address]);
  t.regex(await ask(port, 'server.apps.svc.cluster.local', 'TXT'), /status: NXDOMAIN/);
});

test('an answer is cached as long as it says, and its TTL counts down', async (t) => {
  let nowMs = 0;
  const cache = new DnsCache(() => nowMs);
  const resolver = await playResolver(t, (asked, reply) => {
    reply(response(asked, [addressRecord(7, 10)]));
  });
  const { port } = serve(t, [resolver.address], { cache });
  await ask(port, 'www.example.org', 'A');
  nowMs = 4000;
  t.regex(await ask(port, 'WWW.example.org', 'A'), /^WWW\.example\.org\.\s+6\sIN/m);
  t.is(resolver.queries.length, 1);
  nowMs = 10_000;
  await ask(port, 'www.example.org', 'A');
  t.is(resolver.queries.length, 2);
});

test('every query has another port and id, and a forged answer is not taken (D3)', async (t) => {
  const resolver = await playResolver(t, (asked, reply) => {
    const wrongId = Buffer.from(response(asked, [addressRecord(66)]));
    wrongId.writeUInt16BE(wrongId.readUInt16BE(0) ^ 1, 0);
    reply(wrongId);
    reply(response(query('other.example', 1, asked.readUInt16BE(0)), [addressRecord(66)]));
    reply(asked);
    reply(Buffer.from('nonsense'));
    reply(response(asked, [addressRecord(7)]));
  });
  const { port } = serve(t, [resolver.address]);
  const names = Array.from({ length: 8 }, (_, index) => `n${index}.example`);
  for (const name of names) t.is(await ask(port, '+short', name, 'A'), '192.0.2.7\n');
  t.true(resolver.ports.size >= 7, `${resolver.ports.size} ports`);
  t.true(new Set(resolver.queries.map((asked) => asked.readUInt16BE(0))).size >= 7);
});

test('the same question from many is asked once (D3)', async (t) => {
  const waiting: (() => void)[] = [];
  const resolver = await playResolver(t, (asked, reply) => {
    waiting.push(() => {
      reply(response(asked, [addressRecord(7)]));
    });
  });
  const { port, outcomes } = serve(t, [resolver.address]);
  const client = createSocket('udp4');
  t.teardown(() => client.close());
  const answers: Buffer[] = [];
  const all = Promise.withResolvers<undefined>();
  client.on('message', (bytes) => {
    if (answers.push(bytes) === 20) all.resolve(undefined);
  });
  for (let id = 0; id < 20; id++) client.send(query('www.example.org', 1, id), port, '127.0.0.1');
  // A mesh name behind them is answered when all of them have been read.
  await ask(port, 'server', 'A');
  t.deepEqual(outcomes, known);
  for (const reply of waiting) reply();
  await all.promise;
  t.is(resolver.queries.length, 1);
  t.is(new Set(answers.map((bytes) => bytes.readUInt16BE(0))).size, 20);
});

test('a silent resolver means the next one, and silence of all means SERVFAIL (D3)', async (t) => {
  const silent = await playResolver(t, () => undefined);
  const good = await playResolver(t, (asked, reply) => {
    reply(response(asked, [addressRecord(7)]));
  });
  const first = serve(t, [silent.address, good.address], { timeoutMs: 400 });
  t.is(await ask(first.port, '+short', 'a.example', 'A'), '192.0.2.7\n');
  const second = serve(t, [silent.address], { timeoutMs: 200 });
  t.regex(await ask(second.port, 'a.example', 'A'), /status: SERVFAIL/);
  t.deepEqual(second.outcomes, ['failed']);
});

test('without resolvers, a foreign name is SERVFAIL', async (t) => {
  const { port } = serve(t, []);
  t.regex(await ask(port, 'a.example', 'A'), /status: SERVFAIL/);
});

test('beyond the bound of names in flight, more is SERVFAIL at once (D3)', async (t) => {
  const asked = Promise.withResolvers<undefined>();
  const silent = await playResolver(t, () => {
    asked.resolve(undefined);
  });
  const { port } = serve(t, [silent.address], { timeoutMs: 3000, maxInFlight: 1 });
  const first = ask(port, 'a.example', 'A');
  await asked.promise;
  t.regex(await ask(port, 'b.example', 'A'), /status: SERVFAIL/);
  t.is(silent.queries.length, 1);
  t.regex(await first, /status: SERVFAIL/);
});

test('a truncated answer is asked again over TCP; a long one sends the client to TCP (D1)', async (t) => {
  const many = Array.from({ length: 200 }, (_, index) => addressRecord(index));
  const tcpPort = await playTcpResolver(t, (asked) => response(asked, many));
  const resolver = await playResolver(
    t,
    (asked, reply) => {
      reply(response(asked, [], { flags: 0x8380 }));
    },
    tcpPort,
  );
  const { port, outcomes } = serve(t, [resolver.address]);
  const short = await ask(port, '+ignore', '+bufsize=65000', 'long.example', 'A');
  t.regex(short, /flags: qr tc rd/);
  const whole = await ask(port, '+short', 'long.example', 'A');
  t.is(whole.trim().split('\n').length, 200);
  t.deepEqual([...new Set(outcomes)], ['forwarded']);
});

test('a client that is not known is answered with SERVFAIL', async (t) => {
  const { port, forget, outcomes } = serve(t, []);
  forget();
  t.regex(await ask(port, 'server', 'A'), /status: SERVFAIL/);
  t.deepEqual(outcomes, ['unknown client']);
});

test('hostile datagrams are met with FORMERR or silence, and the next client is served (D2)', async (t) => {
  const { port } = serve(t, []);
  const client = createSocket('udp4');
  t.teardown(() => client.close());
  const answers: Buffer[] = [];
  const both = Promise.withResolvers<undefined>();
  client.on('message', (bytes) => {
    if (answers.push(bytes) === 2) both.resolve(undefined);
  });
  const hostile = [
    Buffer.from([1]), // silence
    response(query('a'), []), // silence
    query('a').subarray(0, -3),
    Buffer.concat([query('a'), Buffer.alloc(60_000)]),
  ];
  for (const bytes of hostile) client.send(bytes, port, '127.0.0.1');
  t.is(await ask(port, '+short', 'server', 'A'), '10.96.0.1\n');
  await both.promise;
  t.deepEqual(
    answers.map((bytes) => [bytes.length, bytes.readUInt16BE(2) & 15]),
    [
      [12, 1],
      [12, 1],
    ],
  );
});

test('several questions on one TCP connection are answered, also after the client’s end', async (t) => {
  const { port } = serve(t, []);
  const socket = connect(port, '127.0.0.1');
  const frames = [1, 2, 3].map((id) => {
    const asked = query('server', 1, id);
    return Buffer.concat([Buffer.from([0, asked.length]), asked]);
  });
  socket.end(Buffer.concat(frames));
  const chunks: Buffer[] = [];
  for await (const chunk of socket as AsyncIterable<Buffer>) chunks.push(chunk);
  const received = Buffer.concat(chunks);
  const ids: number[] = [];
  for (let at = 0; at < received.length; at += 2 + received.readUInt16BE(at))
    ids.push(received.readUInt16BE(at + 2));
  t.deepEqual(ids.sort(), [1, 2, 3]);
});

async function playTcpResolver(
  t: ExecutionContext,
  answer: (asked: Buffer) => Buffer,
): Promise<number> {
  const tcp = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', (bytes) => {
      const bytesOfAnswer = answer(Buffer.from(bytes).subarray(2));
      const length = Buffer.alloc(2);
      length.writeUInt16BE(bytesOfAnswer.length);
      socket.write(Buffer.concat([length, bytesOfAnswer]));
    });
  });
  tcp.listen(0, '127.0.0.1');
  await once(tcp, 'listening');
  t.teardown(() => tcp.close());
  const bound = tcp.address();
  return typeof bound === 'object' ? (bound?.port ?? 0) : 0;
}
