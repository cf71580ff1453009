import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { setImmediate as turnOfLoop } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { resetSocket } from '../../base/reset-socket.ts';
import { parseIpAddress, socketAddress } from '../../base/address.ts';
import { HEADROOM } from '../../net/byte-stream.ts';
import { allocateShared } from '../../net/shared-bytes.ts';
import { connectTcp } from '../../net/tcp.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { watchedDescriptors } from '../../net/reactor.ts';
import { TcpStream } from '../../net/tcp-stream.ts';
import { Collector } from '../support/collect.ts';
import { tcpPair } from '../support/tcp-pair.ts';

const loopback = parseIpAddress('127.0.0.1');

test('a stream carries bytes both ways and knows its addresses', async (t) => {
  const { ours, theirs } = await tcpPair(t);
  const collector = new Collector(ours);
  await collector.write('hello');
  t.is(String((await once(theirs, 'data'))[0]), 'hello');
  theirs.write('world');
  await collector.until((c) => c.received === 5);
  t.is(collector.text, 'world');
  t.is(ours.peer.port, theirs.localPort ?? 0);
  t.is(ours.local.port, theirs.remotePort ?? 0);
  t.is(ours.bytesRead, 5);
  t.is(ours.bytesWritten, 5);
});

test('an end of ours leaves the other direction open, and the stream closes after both', async (t) => {
  const { ours, theirs } = await tcpPair(t);
  const collector = new Collector(ours);
  ours.end();
  theirs.resume();
  await once(theirs, 'end');
  theirs.write('still here');
  await collector.until((c) => c.received === 10);
  t.false(ours.closed);
  theirs.end();
  await collector.until((c) => c.ended);
  t.true(ours.closed);
});

test('an end of the peer leaves our direction open', async (t) => {
  const { ours, theirs } = await tcpPair(t);
  const collector = new Collector(ours);
  theirs.end('bye');
  await collector.until((c) => c.ended);
  t.is(collector.text, 'bye');
  await collector.write('late');
  t.is(String((await once(theirs, 'data'))[0]), 'late');
  t.false(ours.closed);
});

test('a reset of the peer is an error, not an end', async (t) => {
  const { ours, theirs } = await tcpPair(t);
  const collector = new Collector(ours);
  resetSocket(theirs);
  await collector.until((c) => c.error !== undefined);
  t.false(collector.ended);
  t.true(ours.closed);
});

test('a reset of the peer reaches a sink that takes nothing', async (t) => {
  const { ours, theirs } = await tcpPair(t);
  const collector = new Collector(ours);
  collector.allowance = 0;
  await new Promise((resolve) => theirs.write('unread', resolve));
  resetSocket(theirs);
  await collector.until((c) => c.error !== undefined);
  t.is(collector.received, 0);
});

test('a reset after the end of the peer is told, though nothing is left to read', async (t) => {
  const { ours, theirs } = await tcpPair(t);
  const collector = new Collector(ours);
  theirs.end('question');
  await collector.until((c) => c.ended);
  t.is(collector.error, undefined);
  resetSocket(theirs);
  await collector.until((c) => c.error !== undefined);
  t.is(collector.text, 'question');
  t.true(ours.closed);
});

test('an end and a reset that come together are told one after the other', async (t) => {
  const { ours, theirs } = await tcpPair(t);
  await new Promise<void>((resolve) => theirs.end('question', resolve));
  resetSocket(theirs);
  const collector = new Collector(ours);
  await collector.until((c) => c.error !== undefined);
  t.deepEqual([collector.text, collector.ended], ['question', true]);
  t.true(ours.closed);
});

/** Events of this thread have been told, those that came before the call among them. */
async function nextEvents(t: ExecutionContext): Promise<void> {
  const { ours, theirs } = await tcpPair(t);
  const collector = new Collector(ours);
  theirs.write('now');
  await collector.until((c) => c.received === 3);
}

for (const [what, finish, ended, broken] of [
  ['and nothing more', () => undefined, false, false],
  ['and its end', (theirs: net.Socket) => theirs.end(), true, false],
  [
    'and a reset',
    (theirs: net.Socket) => {
      resetSocket(theirs);
    },
    false,
    true,
  ],
] as const)
  test(`what came before there was a sink waits for one: bytes ${what}`, async (t) => {
    const { ours, theirs } = await tcpPair(t);
    await new Promise((resolve) => theirs.write('early', resolve));
    await nextEvents(t);
    finish(theirs);
    await nextEvents(t);
    const collector = new Collector(ours);
    await collector.until((c) => (broken ? c.error !== undefined : c.received === 5));
    if (ended) await collector.until((c) => c.ended);
    t.is(ours.closed, broken);
    if (!broken) {
      await collector.write('answer');
      t.is(String((await once(theirs, 'data'))[0]), 'answer');
    }
  });

test('a connected socket that is handed on unread has what came meanwhile', async (t) => {
  const { ours, theirs } = await tcpPair(t);
  await new Promise((resolve) => theirs.write('early', resolve));
  await nextEvents(t);
  const watched = watchedDescriptors();
  const next = new TcpStream(ours.detach());
  t.is(watchedDescriptors(), watched - 1);
  const collector = new Collector(next);
  await collector.until((c) => c.received === 5);
  t.is(collector.text, 'early');
  t.throws(() => next.detach(), { message: /in use/ });
  next.reset();
});

for (const [action, breakIt] of [
  ['a write', (stream: TcpStream) => stream.write(allocateShared(HEADROOM + 1), HEADROOM, 1)],
  ['an end', endOf],
] as const)
  test(`a stream of which ${action} found that it broke tells a sink that comes later`, async (t) => {
    const { ours, theirs } = await tcpPair(t);
    resetSocket(theirs);
    await once(theirs, 'close');
    while (breakIt(ours) > 0) await turnOfLoop();
    for (let turn = 0; turn < 3; turn++) await turnOfLoop();
    const collector = new Collector(ours);
    await collector.until((c) => c.error !== undefined);
    t.true(ours.closed);
  });

test('a stream that was reset tells nothing of what broke it before', async (t) => {
  const { ours, theirs } = await tcpPair(t);
  resetSocket(theirs);
  await once(theirs, 'close');
  ours.end();
  for (let turn = 0; turn < 3; turn++) await turnOfLoop();
  const collector = new Collector(ours);
  ours.reset();
  for (let turn = 0; turn < 3; turn++) await turnOfLoop();
  t.is(collector.error, undefined);
});

/** It can be asked for once. */
function endOf(stream: TcpStream): number {
  stream.end();
  return 0;
}

test('a reset of ours reaches the peer as one', async (t) => {
  const { ours, theirs } = await tcpPair(t);
  new Collector(ours);
  theirs.resume();
  ours.reset();
  const seen = new Promise((resolve) => theirs.prependListener('error', resolve));
  t.like(await seen, { code: 'ECONNRESET' });
});

test('the death of this process is a reset to its peers, not an end', async (t) => {
  const program = new URL('./programs/echo-once.ts', import.meta.url).pathname;
  const child = spawn(process.execPath, [...process.execArgv, program]);
  t.teardown(() => child.kill('SIGKILL'));
  const [port] = (await once(child.stdout, 'data')) as [Buffer];
  const client = net.connect(Number(port.toString()), '127.0.0.1');
  client.write('question');
  t.is(String((await once(client, 'data'))[0]), 'half of an answer');
  const seen = new Promise((resolve) => client.on('error', resolve).on('end', resolve));
  child.kill('SIGKILL');
  t.like(await seen, { code: 'ECONNRESET' });
});

test('a sink that stops taking stops the peer, and nothing is lost when it goes on', async (t) => {
  const { ours, theirs } = await tcpPair(t);
  const collector = new Collector(ours);
  collector.allowance = 100_000;
  const payload = Buffer.alloc(32 << 20, 'abcdefghij');
  const flushed = new Promise((resolve) => theirs.write(payload, resolve));
  await collector.until((c) => c.received === 100_000);
  t.true(theirs.writableLength > 0);
  collector.release();
  await flushed;
  await collector.until((c) => c.received === payload.length);
  t.true(collector.data.equals(payload));
});

test('a slow peer stops our writes, and nothing is lost when it goes on', async (t) => {
  const { ours, theirs } = await tcpPair(t);
  const collector = new Collector(ours);
  const payload = Buffer.alloc(32 << 20, 'klmnopqrst');
  const written = collector.write(payload);
  t.is(ours.capacity(), 0);
  const chunks: Buffer[] = [];
  theirs.on('data', (chunk: Buffer) => chunks.push(chunk));
  await written;
  ours.end();
  await once(theirs, 'end');
  t.true(Buffer.concat(chunks).equals(payload));
});

test('a listener accepts from IPv4 and IPv6 with canonical addresses', async (t) => {
  const streams: TcpStream[] = [];
  const arrived: (() => void)[] = [];
  const listener = listenTcp({ address: { ip: parseIpAddress('::'), port: 0 } }, (stream) => {
    streams.push(stream);
    arrived.shift()?.();
  });
  t.teardown(() => {
    listener.close();
  });
  for (const host of ['127.0.0.1', '::1']) {
    const accepted = new Promise<void>((resolve) => arrived.push(resolve));
    const client = net.connect(listener.local.port, host);
    await accepted;
    const stream = streams.pop();
    t.is(stream?.peer.ip, parseIpAddress(host));
    t.is(stream?.originalDestination().ip, parseIpAddress(host));
    stream?.reset();
    client.on('error', () => undefined).destroy();
  }
});

test('connectTcp() names a refused address', async (t) => {
  const listener = listenTcp({ address: { ip: loopback, port: 0 } }, () => undefined);
  const { port } = listener.local;
  listener.close();
  const error = await t.throwsAsync(connectTcp(socketAddress('127.0.0.1', port)));
  t.like(error, { code: 'ERR_CONNECT', side: 'upstream' });
  t.is(error.message, `Cannot connect to 127.0.0.1:${port}: ECONNREFUSED`);
});

test('connectTcp() gives up when its signal says so', async (t) => {
  // A listener whose queue is full answers no more openings.
  const listener = listenTcp({ address: { ip: loopback, port: 0 }, backlog: 0 }, () => undefined);
  listener.close();
  const abort = new AbortController();
  abort.abort(new Error('enough'));
  await t.throwsAsync(connectTcp(socketAddress('127.0.0.1', 1), { signal: abort.signal }), {
    message: 'enough',
  });
});
