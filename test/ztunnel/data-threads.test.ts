import test from 'ava';
import type { SpiffeId } from '../../mesh/model/identity.ts';
import { policyKey } from '../../mesh/model/authorization.ts';
import { DataThreads } from '../../mesh/runtime/data-threads.ts';
import { DEFAULT_LOG_LEVELS } from '../../mesh/runtime/log.ts';
import { formatMetrics, mergeSnapshots } from '../../mesh/runtime/metrics-text.ts';
import { encodeAddress } from '../../mesh/xds/codec.ts';
import { encodeAuthorization } from '../../mesh/xds/codec-policy.ts';
import { duplicate } from '../../net/descriptor.ts';
import { readZtunnelConfig } from '../../ztunnel/config.ts';
import { copyPodSockets } from '../../ztunnel/pod-sockets.ts';
import type { ControlCalls, DataThreadCalls, PodHandover } from '../../ztunnel/thread-calls.ts';
import type { Collector } from '../support/collect.ts';
import { makeMatch, makePolicy, makeRule, text } from '../support/policies.ts';
import { TestNode, type TestPod } from '../support/ztunnel-pods.ts';

const COUNT = 120;
/** Of these, one after another. */
const FEW = 8;

/** The same sockets, as descriptors of one more thread. */
function copyHandover(handover: PodHandover): PodHandover {
  const { netnsFd } = handover;
  return {
    ...handover,
    netnsFd: netnsFd === undefined ? undefined : duplicate(netnsFd),
    ...copyPodSockets(handover, { dns: true }),
  };
}

test('two data threads share the connections of one listener, the state, and the metrics, each loop watched (R5)', async (t) => {
  const node = await TestNode.open(t);
  const pods = [node.addCaptured({ name: 'client' }), node.addCaptured({ name: 'server' })];
  const [client, server] = pods as [TestPod, TestPod];
  server.listen(8080, (app) => {
    void app.write('hello');
  });
  const config = readZtunnelConfig(
    { NODE_NAME: 'node-a', ISTIO_META_DNS_CAPTURE: 'false', DATA_THREADS: '2' },
    { readFile: () => '', cpus: () => 2 },
  );
  const quiet = { ...DEFAULT_LOG_LEVELS, fallback: 'off' } as const;
  await using threads = new DataThreads<ControlCalls, DataThreadCalls>({
    count: 2,
    entry: new URL('../../ztunnel/data-thread.ts', import.meta.url),
    settings: { config, logFormat: 'text', logLevels: quiet },
    handlers: () => ({
      certificate: ({ identity }: { identity: SpiffeId }) => node.ca.issue(identity),
      demand: () => null,
      release: () => null,
    }),
    onCrash: (_index, error) => {
      t.fail(error.message);
    },
    onNotifyError: (error) => {
      t.fail(String(error));
    },
  });
  const resources = pods.map(({ workload }) => ({
    name: workload.uid,
    bytes: Uint8Array.from(encodeAddress({ kind: 'workload', workload })),
  }));
  const results = await threads.callAll('applyXds', { type: 'address', resources, removed: [] });
  t.deepEqual(results[0], results[1]);
  t.deepEqual(results[0]?.rejected, []);
  t.is(results[0]?.localIdentities.length, 2);
  for (const pod of pods) {
    const handover = node.handover(pod);
    await threads.link(0).call('addPod', copyHandover(handover));
    await threads.link(1).call('addPod', handover);
  }

  // Few are shared out as well as many: the kernel alone wakes one thread again and again.
  const few: Collector[] = [];
  for (let index = 0; index < FEW; index++) {
    const app = await client.connect(server.ip, 8080);
    await app.until((c) => c.received === 5);
    few.push(app);
  }
  for (const connections of await threads.callAll('connections', null)) {
    const opened = connections.filter(({ connection }) => connection.direction === 'outbound');
    // A thread that is still busy is passed over, so not always every other one.
    t.true(opened.length >= FEW / 4, `${opened.length} of ${FEW}`);
  }

  const more = Array.from({ length: COUNT - FEW }, () => client.connect(server.ip, 8080));
  const apps = [...few, ...(await Promise.all(more))];
  await Promise.all(apps.map((app) => app.until((c) => c.received === 5)));
  const perThread = await threads.callAll('connections', null);
  t.is(perThread.flat().length, 2 * COUNT);
  for (const connections of perThread) t.true(connections.length > 0);

  const snapshots = await threads.callAll('metrics', null);
  const lines = formatMetrics(mergeSnapshots(snapshots), 'prometheus').split('\n');
  const sumOf = (name: string, label: string): number =>
    lines
      .filter((line) => line.startsWith(`${name}{`) && line.includes(label))
      .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  for (const reporter of ['source', 'destination']) {
    const label = `reporter="${reporter}"`;
    t.is(sumOf('istio_tcp_connections_opened_total', label), COUNT);
    t.is(sumOf('istio_tcp_sockets_open', label), COUNT);
    t.is(sumOf('istio_tcp_sent_bytes_total', label), COUNT * 5);
  }

  for (const thread of ['data-0', 'data-1'])
    t.true(
      lines.some((l) => l.startsWith(`halo_event_loop_longest_block_seconds{thread="${thread}"}`)),
    );

  // A change of policy reaches the connections of both.
  const rules = [makeRule([makeMatch({ principals: [text('*')] })])];
  const policy = makePolicy({ name: 'closed', action: 'DENY', rules });
  const bytes = Uint8Array.from(encodeAuthorization(policy));
  const name = policyKey(policy.namespace, policy.name);
  await threads.callAll('applyXds', {
    ...{ type: 'policy', resources: [{ name, bytes }], removed: [] },
  });
  await Promise.all(apps.map((app) => app.until(({ error }) => error !== undefined)));
  const left = (await threads.callAll('connections', null)).flat();
  t.deepEqual(
    left.filter(({ connection }) => connection.direction === 'inbound'),
    [],
  );
});
