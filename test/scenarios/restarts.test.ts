import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import type { PartStatus } from '../../deploy/sandbox/api.ts';
import { startMesh } from '../support/mesh.ts';
import type { Connection } from '../support/mesh-peer.ts';
import { policyYaml } from '../support/mesh-policies.ts';
import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    podYaml('web', { node: 'node-2' }),
    podYaml('client', { node: 'node-1' }),
    podYaml('visitor', { node: 'node-1' }),
    serviceYaml('web', { 80: 9000 }),
  ].join(''),
});

/** The longer an agent is away, the more seldom a proxy of Istio's would look for it. */
const AWAY_MS = 2_700;
const CLIENT = 'spiffe://cluster.local/ns/shop/sa/client';

test.before('the server listens', async () => {
  await (await mesh.peer('web')).listen(9000);
});

async function open(): Promise<Connection> {
  const client = await mesh.peer('client');
  return client.connect('web.shop', 80);
}

async function pidOf(part: string): Promise<number | undefined> {
  return (await find(part))?.pid;
}

async function stateOf(part: string): Promise<string | undefined> {
  return (await find(part))?.state;
}

async function find(part: string): Promise<PartStatus | undefined> {
  const { parts } = await mesh.sandbox.status();
  return parts.find(({ name }) => name === part);
}

for (const [side, node] of [
  ['client', 'node-1'],
  ['server', 'node-2'],
] as const)
  test.serial(
    `connections to come wait while the ztunnel of the ${side} is killed, and are served`,
    async (t) => {
      const held = await open();
      t.true(await held.echo('before'));
      const before = await pidOf(`ztunnel-${node}`);
      const mark = mesh.mark();

      await mesh.part(`ztunnel-${node}`, 'kill');
      const client = await mesh.peer('client');
      const said = await Promise.all(
        ['one', 'two', 'three'].map((text) => client.say('web.shop', 80, text)),
      );

      t.deepEqual(
        said.map(({ text, ended }) => [text, ended]),
        [
          ['one', 'end'],
          ['two', 'end'],
          ['three', 'end'],
        ],
      );
      // What the killed one relayed went with it, and nobody may take that for an end.
      t.is((await held.ended()).how, 'ECONNRESET');
      await mesh.settled();
      t.not(await pidOf(`ztunnel-${node}`), before);
      const pattern = { direction: 'inbound', node: 'node-2', 'src.identity': CLIENT } as const;
      const records = await mesh.records({ ...pattern, error: undefined }, mark, 3);
      t.true(records.every((record) => Number(record['bytes_recv']) > 0));
      const metrics = await mesh.metrics(node);
      t.true(metrics.sum('istio_tcp_connections_opened_total') >= 3);
    },
  );

test.serial(
  'a ztunnel that is restarted in order loses no connection that comes meanwhile',
  async (t) => {
    const client = await mesh.peer('client');
    t.like(await client.say('web.shop', 80, 'before'), { text: 'before', ended: 'end' });
    for (const node of ['node-1', 'node-2']) {
      const before = await pidOf(`ztunnel-${node}`);
      const state = { done: false };
      const restarting = mesh.part(`ztunnel-${node}`, 'restart').then(() => mesh.settled());
      void restarting.finally(() => (state.done = true)).catch(() => undefined);
      let calls = 0;
      while (!state.done) {
        const text = `call ${++calls} during the restart on ${node}`;
        t.like(await client.say('web.shop', 80, text), { text, ended: 'end' });
      }
      await restarting;
      t.true(calls > 0);
      t.not(await pidOf(`ztunnel-${node}`), before);
    }
  },
);

test.serial('a connection that is open lives on while its ztunnel drains', async (t) => {
  const held = await open();
  t.true(await held.echo('before'));
  const restarting = mesh.part('ztunnel-node-2', 'restart');
  for (let index = 0; index < 5; index++) t.true(await held.echo(`while it drains ${index}`));
  await held.end();
  t.is((await held.ended()).how, 'end');
  await restarting;
  await mesh.settled();
});

for (const action of ['restart', 'kill'] as const)
  test.serial(
    `a node agent that is gone (${action}) leaves pods and connections alone`,
    async (t) => {
      const held = await open();
      t.true(await held.echo('before'));
      const pod = `new-${action}`;

      await mesh.part('node-agent-node-1', action);
      t.true(await held.echo('after'));
      const client = await mesh.peer('client');
      t.like(await client.say('web.shop', 80, 'new'), { text: 'new', ended: 'end' });

      await mesh.settled();
      t.true(await held.echo('when it is back'));
      await held.end();
      t.is((await held.ended()).how, 'end');
      // It still does its work: a new pod is enrolled, and an old one is found again.
      const mark = mesh.mark();
      await mesh.apply(podYaml(pod, { node: 'node-1' }));
      t.is((await mesh.pod(pod)).enrolment, 'enabled');
      t.is((await mesh.pod('client')).enrolment, 'enabled');
      t.like(await (await mesh.peer(pod)).say('web.shop', 80, 'hi'), { text: 'hi', ended: 'end' });
      const record = await mesh.record({ direction: 'inbound', 'src.workload': pod }, mark);
      t.is(record['src.identity'], `spiffe://cluster.local/ns/shop/sa/${pod}`);
    },
  );

test.serial(
  'a ztunnel that is killed as soon as a node agent is back that was away leaves nobody refused',
  async (t) => {
    const agent = 'node-agent-node-1';
    await mesh.part(agent, 'stop');
    await delay(AWAY_MS);
    await mesh.part(agent, 'start');
    while ((await stateOf(agent)) !== 'ready') await delay(5);
    await mesh.part('ztunnel-node-1', 'kill');
    const client = await mesh.peer('client');
    t.like(await client.say('web.shop', 80, 'waits'), { text: 'waits', ended: 'end' });
    await mesh.settled();
  },
);

test.serial('policy holds from the first connection after a restart', async (t) => {
  await mesh.apply(
    policyYaml('no-visitors', {
      action: 'DENY',
      rules: [{ from: [{ source: { principals: ['*/sa/visitor'] } }] }],
    }),
  );
  const mark = mesh.mark();
  await mesh.part('ztunnel-node-2', 'kill');
  const visitor = await mesh.peer('visitor');
  const said = await Promise.all(['a', 'b'].map((text) => visitor.say('web.shop', 80, text)));
  for (const { text, ended } of said) t.deepEqual([text, ended], ['', 'ECONNRESET']);
  const pattern = { direction: 'inbound', node: 'node-2', 'src.workload': 'visitor' } as const;
  for (const record of await mesh.records(pattern, mark, 2))
    t.regex(record.error ?? '', /explicitly denied by: shop\/no-visitors/);
  await mesh.settled();
});
