import { execFileSync } from 'node:child_process';
import test from 'ava';
import {
  captureScript,
  formatCaptureRules,
  parseInterfaces,
  RELEASE_SCRIPT,
  removalScript,
} from '../../../deploy/node-agent/rules.ts';
import { parseIpAddress } from '../../../base/address.ts';
import { hasTcpSockets, parseConnections } from '../../../deploy/node-agent/plain-connections.ts';
import { openNetns, prepareNetns } from '../../../net/netns.ts';
import { bindListener, connectTcp } from '../../../net/tcp.ts';
import { TcpListener } from '../../../net/tcp-listener.ts';
import type { TcpStream } from '../../../net/tcp-stream.ts';
import { openNamespace } from '../support.ts';

const everything = { dns: true, inbound: true, virtualInterfaces: ['tap0'] };

function runInside(netns: string, script: string, input = ''): string {
  return execFileSync('nsenter', [`--net=${netns}`, 'sh', '-c', script], {
    ...{ input, encoding: 'utf8', env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
}

test('the kernel takes the rules, twice too, and nothing is left after their removal', async (t) => {
  const netns = await openNamespace(t);
  const before = runInside(netns, 'nft list ruleset; ip rule; ip -6 rule; ip route show table all');
  const rules = formatCaptureRules(everything);
  runInside(netns, captureScript(true), rules);
  const once = runInside(netns, 'nft list ruleset; ip rule; ip route show table 100');
  runInside(netns, captureScript(true), rules);
  t.is(runInside(netns, 'nft list ruleset; ip rule; ip route show table 100'), once);
  t.regex(once, /fwmark 0x111\/0xfff lookup 100/);
  t.regex(once, /local default dev lo/);
  t.regex(once, /iifname "tap0".*redirect to :15001/);

  runInside(netns, RELEASE_SCRIPT);
  t.notRegex(runInside(netns, 'nft list ruleset'), /redirect/);
  runInside(netns, removalScript(true));
  t.is(runInside(netns, 'nft list ruleset; ip rule; ip -6 rule; ip route show table all'), before);
});

test('half of a capture is mended, and what cannot be set fails', async (t) => {
  const netns = await openNamespace(t);
  const rules = formatCaptureRules(everything);
  const look =
    'nft list ruleset; ip rule; ip -6 rule; ip route show table 100; ip -6 route show table 100';
  runInside(netns, captureScript(true), rules);
  const whole = runInside(netns, look);
  for (const lost of [
    'ip -6 rule del pref 32764',
    'ip route flush table 100',
    'nft delete table inet halo',
    'ip rule del pref 32764; ip -6 route flush table 100',
  ]) {
    runInside(netns, lost);
    runInside(netns, captureScript(true), rules);
    t.is(runInside(netns, look), whole, lost);
  }
  t.throws(() => runInside(netns, captureScript(true), 'no rules'), { message: /syntax error/ });
  const onlyNew = formatCaptureRules(everything, { onlyNew: true });
  t.throws(() => runInside(netns, captureScript(true), onlyNew), { message: /File exists/ });
  t.is(runInside(netns, look), whole);
  runInside(netns, 'nft delete table inet halo');
  runInside(netns, captureScript(true), onlyNew);
  t.is(runInside(netns, look), whole);
  runInside(netns, 'ip -6 route flush table 100; ip link set lo down');
  t.throws(() => runInside(netns, captureScript(true), rules), { message: /not up/ });
});

test('hasTcpSockets() sees what listens and what is connected, in that namespace alone', async (t) => {
  await prepareNetns();
  const netns = openNetns(await openNamespace(t));
  t.teardown(() => {
    netns.close();
  });
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
  const netns = await openNamespace(t);
  t.notThrows(() => runInside(netns, RELEASE_SCRIPT));
  t.notThrows(() => runInside(netns, removalScript(true)));
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

test('parseConnections() leaves out what stays inside the pod', (t) => {
  const text = [
    '0 0 10.244.16.2:40000 10.244.32.2:8080',
    '0 0 127.0.0.1:40001 127.0.0.1:8080',
    '0 36 [::ffff:10.244.16.2]:8080 [::ffff:10.244.32.9]:50000',
    '0 0 [::1]:1 [::1]:2',
    '',
  ].join('\n');
  t.deepEqual(parseConnections(text), [
    '10.244.16.2:40000 10.244.32.2:8080',
    '[::ffff:10.244.16.2]:8080 [::ffff:10.244.32.9]:50000',
  ]);
});
