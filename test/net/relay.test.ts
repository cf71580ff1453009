import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import net from 'node:net';
import { setImmediate as nextRound } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { resetSocket } from '../../base/reset-socket.ts';
import { parseIpAddress } from '../../base/address.ts';
import { Relay, type RelayEnd } from '../../net/relay.ts';
import { connectTcp } from '../../net/tcp.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { expectNoLeak } from '../support/memory.ts';

const loopback = { ip: parseIpAddress('127.0.0.1'), port: 0 };

type Setup = Readonly<{
  client: net.Socket;
  server: net.Socket;
  relay: Relay;
  ended: Promise<RelayEnd>;
  bytes: () => [read: number, written: number];
}>;

/** node:net client <-> relay of ours <-> node:net server */
async function setUp(t: ExecutionContext): Promise<Setup> {
  const target = net.createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(target, 'listening');
  const { port } = target.address() as net.AddressInfo;
  const ended = Promise.withResolvers<RelayEnd>();
  const made = Promise.withResolvers<Pick<Setup, 'relay' | 'bytes'>>();
  const listener = listenTcp({ address: loopback }, (downstream) => {
    void connectTcp({ ip: loopback.ip, port }).then((upstream) => {
      const relay = new Relay(downstream, upstream, ended.resolve);
      made.resolve({ relay, bytes: () => [downstream.bytesRead, downstream.bytesWritten] });
    });
  });
  const accepted = once(target, 'connection');
  const client = net.connect({ port: listener.local.port, allowHalfOpen: true });
  const [server] = (await accepted) as [net.Socket];
  const { relay, bytes } = await made.promise;
  for (const socket of [client, server]) socket.on('error', () => undefined);
  t.teardown(() => {
    client.destroy();
    server.destroy();
    target.close();
    listener.close();
  });
  return { client, server, relay, ended: ended.promise, bytes };
}

async function read(socket: net.Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

test('bytes go both ways and are counted, and the relay is complete after both ends', async (t) => {
  const { client, server, ended, bytes } = await setUp(t);
  client.write('question');
  t.is(String((await once(server, 'data'))[0]), 'question');
  server.end('answer');
  t.is(String((await once(client, 'data'))[0]), 'answer');
  client.end();
  t.deepEqual(await ended, { kind: 'complete' });
  t.deepEqual(bytes(), [8, 6]);
});

for (const [first, second] of [
  ['client', 'server'],
  ['server', 'client'],
] as const)
  test(`the end of the ${first} leaves the other direction open`, async (t) => {
    const setup = await setUp(t);
    setup[first].end();
    setup[second].resume();
    await once(setup[second], 'end');
    setup[second].end('still here');
    t.is((await read(setup[first])).toString(), 'still here');
    t.deepEqual(await setup.ended, { kind: 'complete' });
  });

for (const [first, second, by] of [
  ['client', 'server', 'downstream'],
  ['server', 'client', 'upstream'],
] as const)
  test(`a reset by the ${first} reaches the other as a reset`, async (t) => {
    const setup = await setUp(t);
    setup[second].resume();
    const seen = new Promise((resolve) => setup[second].prependListener('error', resolve));
    resetSocket(setup[first]);
    t.like(await seen, { code: 'ECONNRESET' });
    t.like(await setup.ended, { kind: 'broken', by });
  });

for (const [first, second] of [
  ['client', 'server'],
  ['server', 'client'],
] as const)
  test(`a ${first} that has ended and is then reset takes the ${second}, who is silent, with it`, async (t) => {
    const setup = await setUp(t);
    setup[first].end('question');
    setup[second].resume();
    await once(setup[second], 'end');
    resetSocket(setup[first]);
    const by = first === 'client' ? 'downstream' : 'upstream';
    t.like(await setup.ended, { kind: 'broken', by });
    // Node reads no more after an end, so that only a write tells it.
    setup[second].write('answer');
    const [error] = (await once(setup[second], 'error')) as [NodeJS.ErrnoException];
    t.regex(error.code ?? '', /^(EPIPE|ECONNRESET)$/);
  });

test('cut() resets both', async (t) => {
  const { client, server, relay, ended } = await setUp(t);
  const seen = [client, server].map((socket) => {
    socket.resume();
    return new Promise((resolve) => socket.prependListener('error', resolve));
  });
  relay.cut(new Error('forbidden now'));
  for (const error of await Promise.all(seen)) t.like(error, { code: 'ECONNRESET' });
  t.like(await ended, { kind: 'broken', by: 'local', error: { message: 'forbidden now' } });
});

test('a reader that stops stops the writer at its source', async (t) => {
  const { client, server, bytes } = await setUp(t);
  const payload = Buffer.alloc(64 << 20, 'pressure');
  let written = false;
  client.end(payload, () => {
    written = true;
  });
  server.pause();
  // What the kernel's buffers hold goes; then nothing moves any more, and the rest is still the client's.
  for (let still = 0, last = -1; still < 50; ) {
    const [moved] = bytes();
    still = moved === last ? still + 1 : 0;
    last = moved;
    await nextRound();
  }
  t.false(written);
  t.true(bytes()[0] < payload.length);
  t.true((await read(server)).equals(payload));
});

/** Pipes through which this process moves bytes: two descriptors each. */
function openPipes(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('pipe:');
    } catch {
      return false; // the folder's own descriptor
    }
  }).length;
}

test('bulk that moves inside the kernel is whole, however its reader reads, and so is what comes after', async (t) => {
  const { client, server, ended, bytes } = await setUp(t);
  const payload = randomBytes(48 << 20);
  client.end(payload);
  server.write('a little, the other way');
  const chunks: Buffer[] = [];
  server.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    if (chunks.length % 64 !== 0) return;
    // Long enough that the kernel's buffers fill up behind it.
    server.pause();
    setTimeout(() => server.resume(), 5);
  });
  await once(server, 'end');
  t.true(Buffer.concat(chunks).equals(payload));
  server.end(', and the end');
  t.is((await read(client)).toString(), 'a little, the other way, and the end');
  t.deepEqual(await ended, { kind: 'complete' });
  t.deepEqual(bytes(), [payload.length, 36]);
});

test.serial(
  'a reset behind bulk that its reader has not taken is a reset to the reader, and leaves no pipes behind',
  async (t) => {
    const { client, server, ended, bytes } = await setUp(t);
    const before = openPipes();
    server.pause();
    client.write(Buffer.alloc(64 << 20, 'pressure'));
    for (let still = 0, last = -1; still < 50; ) {
      const [moved] = bytes();
      still = moved === last ? still + 1 : 0;
      last = moved;
      await nextRound();
    }
    t.true(openPipes() > before, 'nothing moves inside the kernel');
    const seen = new Promise((resolve) => server.prependListener('error', resolve));
    resetSocket(client);
    t.like(await ended, { kind: 'broken', by: 'downstream' });
    server.resume();
    t.like(await seen, { code: 'ECONNRESET' });
    t.true(openPipes() <= before + 2, 'more than one, which is kept for the next');
  },
);

test('the used heap does not grow while 1 GiB is relayed', async (t) => {
  const { client, server, ended, bytes } = await setUp(t);
  const chunk = Buffer.alloc(1 << 20, 'x');
  let received = 0;
  server.on('data', (data: Buffer) => {
    received += data.length;
  });
  const send = async (count: number): Promise<void> => {
    for (let left = count; left > 0; left--) if (!client.write(chunk)) await once(client, 'drain');
  };
  let sent = 0;
  const work = async (times: number): Promise<void> => {
    await send(times);
    sent += times;
  };
  await expectNoLeak(t, work, { times: 512, flatBytes: 1 << 11 });
  client.end();
  await once(server, 'end');
  server.end();
  await ended;
  t.is(received, sent * chunk.length);
  t.is(bytes()[0], received);
});
