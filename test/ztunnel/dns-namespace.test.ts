import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { parseIpAddress } from '../../base/address.ts';
import { DnsMetrics } from '../../mesh/dns/metrics.ts';
import { openLog } from '../../mesh/runtime/log.ts';
import { Metrics } from '../../mesh/runtime/metrics.ts';
import { prepareNetns, type Netns } from '../../net/netns.ts';
import { watchedDescriptors } from '../../net/reactor.ts';
import { DnsProxy, type DnsProxyParts } from '../../ztunnel/dns.ts';
import { inside, makeNamespace, runInside } from '../support/namespace.ts';
import { testService, testWorkload } from '../mesh/proxy/fixtures/workload.ts';

const run = promisify(execFile);
const client = testWorkload('client');
const server = testService('server', {
  addresses: [{ network: '', ip: parseIpAddress('10.96.0.1') }],
});
const POD = { name: 'client', namespace: 'apps', serviceAccount: 'client' };

/** A pod's namespace with nothing but its loopback, which has no IPv6. */
async function namespaceWithoutIpv6(t: ExecutionContext): Promise<Netns> {
  const netns = await makeNamespace(t);
  runInside(netns, 'echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6');
  return netns;
}

function proxy(change: Partial<DnsProxyParts['config']> = {}): DnsProxy {
  return new DnsProxy({
    config: {
      ...{ clusterDomain: 'cluster.local', ipv6: true, packetMark: 1337, portReuse: true },
      dnsProxyAddress: { ips: ['127.0.0.1', '::1'].map(parseIpAddress), port: 15053 },
      preferredServiceNamespace: undefined,
      ...change,
    },
    state: {
      localWorkload: ({ name }) => (name === POD.name ? client : undefined),
      servicesByHost: (host) => (host === server.hostname ? [server] : []),
      endpoints: () => new Map(),
    },
    resolvers: [],
    metrics: new DnsMetrics(new Metrics()),
    log: openLog({ format: 'text', levels: { fallback: 'off', scopes: new Map() } }).scope('dns'),
  });
}

async function dig(netns: Netns, at: string, ...args: readonly string[]): Promise<string> {
  const command = ['dig', `@${at}`, '-p', '15053', '+tries=1', '+time=5', '+short', ...args];
  const { stdout } = await run('nsenter', [...inside(netns), ...command, 'server', 'A']);
  return stdout;
}

test.before(prepareNetns);

test.serial('a pod is served at both of its loopback addresses, over UDP and TCP', async (t) => {
  const netns = await makeNamespace(t);
  using _dns = proxy().serve({ ...POD, netns });
  for (const at of ['127.0.0.1', '::1'])
    for (const transport of ['+notcp', '+tcp'])
      t.is(await dig(netns, at, transport), '10.96.0.1\n', `${at} ${transport}`);
});

test.serial('a pod without IPv6 is served at 127.0.0.1', async (t) => {
  const netns = await namespaceWithoutIpv6(t);
  using _dns = proxy().serve({ ...POD, netns });
  t.is(await dig(netns, '127.0.0.1', '+tcp'), '10.96.0.1\n');
  t.is(await dig(netns, '127.0.0.1', '+notcp'), '10.96.0.1\n');
});

test.serial('a second proxy answers beside the first one, and after it', async (t) => {
  const netns = await makeNamespace(t);
  const first = proxy().serve({ ...POD, netns });
  using _second = proxy().serve({ ...POD, netns });
  first.drain();
  for (let index = 0; index < 8; index++) t.is(await dig(netns, '127.0.0.1'), '10.96.0.1\n');
  first[Symbol.dispose]();
  for (let index = 0; index < 8; index++) t.is(await dig(netns, '127.0.0.1'), '10.96.0.1\n');
});

test.serial(
  'where addresses are not shared, a proxy that drains leaves them to the next one',
  async (t) => {
    const netns = await makeNamespace(t);
    const before = watchedDescriptors();
    const alone = { portReuse: false };
    const first = proxy(alone).serve({ ...POD, netns });
    t.throws(() => proxy(alone).serve({ ...POD, netns }), { code: 'ERR_SYSTEM_EADDRINUSE' });
    first.drain();
    using second = proxy(alone).serve({ ...POD, netns });
    t.is(await dig(netns, '127.0.0.1'), '10.96.0.1\n');
    second[Symbol.dispose]();
    t.is(watchedDescriptors(), before);
  },
);
