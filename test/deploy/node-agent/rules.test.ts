import { execFileSync } from 'node:child_process';
import test, { type ExecutionContext } from 'ava';
import { releaseRules, removeRules, setRules } from '../../../deploy/node-agent/apply-rules.ts';
import { formatCaptureRules, parseInterfaces } from '../../../deploy/node-agent/rules.ts';
import { parseIpAddress, socketAddress } from '../../../base/address.ts';
import {
  hasCapturedConnections,
  hasTcpSockets,
  listConnections,
  resetAll,
  resetConnections,
} from '../../../deploy/node-agent/plain-connections.ts';
import { type Netns, openNetns, prepareNetns } from '../../../net/netns.ts';
import { bindListener, connectTcp } from '../../../net/tcp.ts';
import { listenTcp, TcpListener } from '../../../net/tcp-listener.ts';
import type { TcpStream } from '../../../net/tcp-stream.ts';
import { Collector } from '../../support/collect.ts';
import { openNamespace } from '../support.ts';

const everything = { dns: true, inbound: true, virtualInterfaces: ['tap0'] };

/** A namespace; what is run in it is looked at with the system's own programs. */
async function openPlace(
  t: ExecutionContext,
): Promise<{ netns: Netns; run: (script: string) => string }> {
  await prepareNetns();
  const path = await openNamespace(t);
  const netns = openNetns(path);
  t.teardown(() => {
    netns.close();
  });
  const run = (script: string): string =>
    execFileSync('nsenter', [`--net=${path}`, 'sh', '-c', script], {
      ...{ encoding: 'utf8', env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
  return { netns, run };
}

const EVERYTHING =
  'nft list ruleset; ip rule; ip -6 rule; ip -4 route show table all; ip -6 route show table all';

test('the kernel takes the rules, twice too, and nothing is left after their removal', async (t) => {
  const { netns, run } = await openPlace(t);
  const before = run(EVERYTHING);
  const rules = formatCaptureRules(everything);
  await setRules(netns, rules, true);
  const once = run(EVERYTHING);
  await setRules(netns, rules, true);
  t.is(run(EVERYTHING), once);
  t.is(once.match(/32764:\tfrom all fwmark 0x111\/0xfff lookup 100/g)?.length, 2);
  t.is(once.match(/local default dev lo table 100/g)?.length, 2);
  t.regex(once, /iifname "tap0".*redirect to :15001/);

  await releaseRules(netns);
  t.notRegex(run('nft list ruleset'), /redirect/);
  await removeRules(netns, true);
  t.is(run(EVERYTHING), before);
});

test('half of a capture is mended, and what cannot be set fails', async (t) => {
  const { netns, run } = await openPlace(t);
  const rules = formatCaptureRules(everything);
  await setRules(netns, rules, true);
  const whole = run(EVERYTHING);
  for (const lost of [
    'ip -6 rule del pref 32764',
    'ip route flush table 100',
    'nft delete table inet halo',
    'ip rule del pref 32764; ip -6 route flush table 100',
  ]) {
    run(lost);
    await setRules(netns, rules, true);
    t.is(run(EVERYTHING), whole, lost);
  }
  await t.throwsAsync(setRules(netns, 'no rules', true), { message: /syntax error/ });
  const onlyNew = formatCaptureRules(everything, { onlyNew: true });
  await t.throwsAsync(setRules(netns, onlyNew, true), { message: /File exists/ });
  t.is(run(EVERYTHING), whole);
  run('nft delete table inet halo');
  await setRules(netns, onlyNew, true);
  t.is(run(EVERYTHING), whole);
  run('ip -6 route flush table 100; ip link set lo down');
  await t.throwsAsync(setRules(netns, rules, true), { code: 'ERR_SYSTEM_ENETDOWN' });
});

test('without IPv6 nothing of it is touched', async (t) => {
  const { netns, run } = await openPlace(t);
  const look = 'ip -6 rule; ip -6 route show table all';
  const before = run(look);
  await setRules(netns, formatCaptureRules(everything), false);
  t.is(run(look), before);
  await removeRules(netns, false);
  t.is(run(look), before);
});

test('hasTcpSockets() sees what listens and what is connected, in that namespace alone', async (t) => {
  const { netns } = await openPlace(t);
  t.false(hasTcpSockets(netns));
  const ip = parseIpAddress('127.0.0.1');
  const bound = bindListener({ address: { ip, port: 8080 }, netns });
  t.true(hasTcpSockets(netns));
  const accepted = Promise.withResolvers<TcpStream>();
  const listener = new TcpListener(bound, {}, accepted.resolve);
  const stream = await connectTcp({ ip, port: 8080 }, { netns });
  const peer = await accepted.promise;
  listener.close();
  t.true(hasTcpSockets(netns));
  for (const end of [stream, peer]) end.reset();
  t.false(hasTcpSockets(netns));
});

test('release and removal of what was never captured do nothing', async (t) => {
  const { netns, run } = await openPlace(t);
  const before = run(EVERYTHING);
  await releaseRules(netns);
  await removeRules(netns, true);
  t.is(run(EVERYTHING), before);
});

for (const family of [4, 6] as const)
  test(`of IPv${family} connections, those that leave the pod are listed, and can be ended one by one`, async (t) => {
    const [pod, peer] = [await openPlace(t), await openPlace(t)];
    const other = `/proc/${process.pid}/fd/${peer.netns.fd}`;
    const [ours, theirs] = family === 4 ? ['10.9.0.1', '10.9.0.2'] : ['fd09::1', 'fd09::2'];
    const length = family === 4 ? 24 : '64 nodad';
    pod.run(`ip link add eth0 type veth peer name eth0 netns ${other}
      ip addr add ${ours}/${length} dev eth0 && ip link set eth0 up`);
    peer.run(`ip addr add ${theirs}/${length} dev eth0 && ip link set eth0 up`);
    const accepted: Collector[] = [];
    const port = 8080;
    const any = { ip: parseIpAddress('::'), port };
    for (const { netns } of [pod, peer]) {
      const listener = listenTcp({ address: any, netns }, (stream) => {
        accepted.push(new Collector(stream));
      });
      t.teardown(() => {
        listener.close();
      });
    }
    const dial = async (ip: string, netns: Netns): Promise<Collector> => {
      const stream = await connectTcp(socketAddress(ip, port), { netns });
      t.teardown(() => {
        stream.reset();
      });
      return new Collector(stream);
    };
    const inside = await dial(family === 4 ? '127.0.0.1' : '::1', pod.netns);
    t.is(listConnections(pod.netns).size, 0);
    const first = await dial(theirs, pod.netns);
    const [key] = listConnections(pod.netns);
    const incoming = await dial(ours, peer.netns);
    const second = await dial(theirs, pod.netns);
    t.is(listConnections(pod.netns).size, 3);

    resetConnections(pod.netns, [key ?? '', key ?? '']);
    await first.until(({ error }) => error !== undefined);
    t.false(listConnections(pod.netns).has(key ?? ''));
    t.is(listConnections(pod.netns).size, 2);
    resetAll(pod.netns);
    for (const ended of [incoming, second, inside])
      await ended.until(({ error }) => error !== undefined);
    t.true(hasTcpSockets(pod.netns), 'what listens stays');
    t.is(listConnections(pod.netns).size, 0);
  });

test('a connection is captured while one of its ends is at a port of the proxy', async (t) => {
  const { netns } = await openPlace(t);
  const ip = parseIpAddress('127.0.0.1');
  const listener = listenTcp({ address: { ip, port: 15001 }, netns }, (stream) => {
    new Collector(stream);
  });
  t.teardown(() => {
    listener.close();
  });
  t.false(hasCapturedConnections(netns));
  const stream = await connectTcp({ ip, port: 15001 }, { netns });
  t.true(hasCapturedConnections(netns));
  stream.reset();
  t.false(hasCapturedConnections(netns));
});

test('DNS and inbound capture are left out where a pod asks for it', (t) => {
  const without = formatCaptureRules({ dns: false, inbound: false, virtualInterfaces: [] });
  t.notRegex(without, /15053|15006|zone/);
  t.regex(without, /redirect to :15001/);
  const rules = formatCaptureRules(everything);
  t.regex(rules, /15053/);
  t.regex(rules, /redirect to :15006/);
});

test('interface names from an annotation cannot write rules', (t) => {
  t.deepEqual(parseInterfaces('tap0, tap1,,"; flush ruleset,eth0\n}, a-name-too-long-for-linux'), [
    'tap0',
    'tap1',
  ]);
});
