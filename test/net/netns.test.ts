import { once } from 'node:events';
import net from 'node:net';
import { openSync } from 'node:fs';
import test from 'ava';
import { parseIpAddress, socketAddress } from '../../base/address.ts';
import {
  adoptNetns,
  inNetns,
  openNetns,
  ownNetnsId,
  prepareNetns,
  type Netns,
} from '../../net/netns.ts';
import { connectTcp } from '../../net/tcp.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { openUdp } from '../../net/udp.ts';
import { Collector } from '../support/collect.ts';
import { makeNamespace } from '../support/namespace.ts';

test.before(prepareNetns);

test('inNetns() enters, returns, and comes back also after an exception', async (t) => {
  const netns = await makeNamespace(t);
  const home = ownNetnsId();
  t.is(inNetns(netns, ownNetnsId), netns.id);
  t.is(ownNetnsId(), home);
  t.throws(() =>
    inNetns(netns, () => {
      throw new Error('inside');
    }),
  );
  t.is(ownNetnsId(), home);
});

test('a closed namespace is not entered, also when its number has become another one’s', async (t) => {
  const first = await makeNamespace(t);
  const other = await makeNamespace(t);
  const { fd } = first;
  first.close();
  const opened: Netns[] = [];
  while (opened.at(-1)?.fd !== fd) opened.push(openNetns(`/proc/self/fd/${other.fd}`));
  t.throws(() => inNetns(first, ownNetnsId), { message: /closed/ });
  for (const netns of opened) netns.close();
});

test('adoptNetns() refuses a descriptor of something else (C8)', (t) => {
  t.throws(() => adoptNetns(openSync('/dev/null', 'r')), { code: 'ERR_NETNS' });
});

test('sockets made in a namespace are of that namespace, with mark and transparency', async (t) => {
  const netns = await makeNamespace(t);
  const address = { ip: parseIpAddress('::'), port: 15_008 };
  const accepted = new Promise<Collector>((resolve) => {
    const listener = listenTcp(
      { address, netns, mark: 0x539, transparent: 'required' },
      (stream) => {
        resolve(new Collector(stream));
        listener.close();
      },
    );
    t.true(listener.transparent);
  });
  const to = socketAddress('127.0.0.1', 15_008);
  const client = new Collector(await connectTcp(to, { netns, mark: 0x539 }));
  await client.write('inside');
  const server = await accepted;
  await server.until((c) => c.received === 6);
  t.is(server.text, 'inside');
  client.stream.reset();
  await server.until((c) => c.error !== undefined);
  // Nobody listens there in our own namespace.
  const outside = net.connect(15_008, '127.0.0.1');
  await t.throwsAsync(once(outside, 'connect'), { code: 'ECONNREFUSED' });
});

test('a connection can come from a foreign address', async (t) => {
  const netns = await makeNamespace(t);
  const accepted = new Promise<string>((resolve) => {
    const listener = listenTcp(
      { address: { ip: parseIpAddress('127.0.0.1'), port: 8080 }, netns },
      (stream) => {
        resolve(stream.peer.ip);
        stream.end();
        listener.close();
      },
    );
  });
  const client = await connectTcp(socketAddress('127.0.0.1', 8080), {
    netns,
    source: { ip: parseIpAddress('127.9.9.9'), port: 0 },
    transparent: true,
  });
  t.is(await accepted, '127.9.9.9');
  client.reset();
});

test('UDP sockets of a namespace reach each other over IPv4 and IPv6', async (t) => {
  const netns = await makeNamespace(t);
  const server = openUdp({ local: { ip: parseIpAddress('::'), port: 5353 }, netns });
  server.setHandler({
    onMessage(bytes, from) {
      server.send(Buffer.concat([bytes, Buffer.from(` from ${from.ip}`)]), from);
    },
    onError(error) {
      t.fail(error.message);
    },
  });
  for (const ip of ['127.0.0.1', '::1']) {
    const client = openUdp({ local: { ip: parseIpAddress(ip), port: 0 }, netns });
    const answer = new Promise<string>((resolve) => {
      client.setHandler({
        onMessage(bytes) {
          resolve(bytes.toString());
        },
        onError(error) {
          resolve(error.message);
        },
      });
    });
    client.send(Buffer.from('hello'), socketAddress(ip, 5353));
    t.is(await answer, `hello from ${ip}`);
    client.close();
  }
  server.close();
});
