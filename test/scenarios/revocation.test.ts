import test, { type ExecutionContext } from 'ava';
import { startMesh } from '../support/mesh.ts';
import type { Connection } from '../support/mesh-peer.ts';
import { peerAuthenticationYaml, policyYaml } from '../support/mesh-policies.ts';
import { namespaceYaml, podYaml } from '../support/mesh-yaml.ts';

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    namespaceYaml('other'),
    namespaceYaml('plain', {}),
    podYaml('web', { node: 'node-2' }),
    podYaml('books', { node: 'node-2' }),
    podYaml('client', { node: 'node-1' }),
    podYaml('visitor', { namespace: 'other', node: 'node-1' }),
    podYaml('stranger', { namespace: 'plain', node: 'node-1' }),
  ].join(''),
});

/** From the write of a policy to the end of what it forbids, by way of control plane and proxy. */
const CUT_MS = 1_000;
/** A port whose connections wait for the test to take them. */
const QUEUED = 91;
/** A busy machine can hold anything up: the best of so many counts. */
const ATTEMPTS = 3;

test.before('the servers listen', async () => {
  for (const pod of ['web', 'books']) {
    const peer = await mesh.peer(pod);
    await peer.listen(80);
    await peer.listen(90);
  }
});

/** Opens a connection to an echo and uses it. */
async function open(
  t: ExecutionContext,
  from: string,
  server: string,
  port: number,
): Promise<Connection> {
  const peer = await mesh.peer(from);
  const connection = await peer.connect(await mesh.ip(server), port);
  t.true(await connection.echo('before'), `${from} to ${server}:${port}`);
  return connection;
}

/** The client is told by a reset, the server's record and metrics by whom. */
async function expectClosed(
  t: ExecutionContext,
  connection: Connection,
  from: string,
  reason: RegExp,
  mark: number,
): Promise<void> {
  t.is((await connection.ended()).how, 'ECONNRESET', from);
  const pattern = { direction: 'inbound', 'src.workload': from, error: /policy change/ };
  const record = await mesh.record(pattern, mark);
  t.regex(record.error ?? '', reason, from);
  t.is(record['bytes_recv'], 'before'.length);
  t.is(record['bytes_sent'], 'before'.length);
}

async function expectOpen(
  t: ExecutionContext,
  connections: Readonly<Record<string, Connection>>,
): Promise<void> {
  for (const [which, connection] of Object.entries(connections)) {
    t.true(await connection.echo('after'), which);
    await connection.end();
    t.is((await connection.ended()).how, 'end', which);
  }
}

test.serial(
  'a policy closes the open connections that it forbids, and only those (A8)',
  async (t) => {
    const mark = mesh.mark();
    const forbidden = await open(t, 'client', 'web', 80);
    const plainText = await open(t, 'plain/stranger', 'web', 80);
    const kept = {
      'another port': await open(t, 'client', 'web', 90),
      'another pod': await open(t, 'client', 'books', 80),
      'another client': await open(t, 'other/visitor', 'web', 80),
    };
    const before = await mesh.metrics('node-2');

    await mesh.apply(
      policyYaml('closing', {
        selector: { matchLabels: { app: 'web' } },
        action: 'DENY',
        rules: [
          {
            from: [
              { source: { principals: ['cluster.local/ns/shop/sa/client'] } },
              { source: { ipBlocks: [await mesh.ip('plain/stranger')] } },
            ],
            to: [{ operation: { ports: ['80'] } }],
          },
        ],
      }),
    );

    const reason = /explicitly denied by: shop\/closing/;
    await expectClosed(t, forbidden, 'client', reason, mark);
    await expectClosed(t, plainText, 'stranger', reason, mark);
    const now = await mesh.metrics('node-2');
    const labels = { reporter: 'destination', response_flags: 'DENY' };
    t.is(now.growth(before, 'istio_tcp_connections_failed_total', labels), 2);
    t.is(now.growth(before, 'istio_tcp_connections_closed_total'), 2);
    await expectOpen(t, kept);
    await mesh.delete('AuthorizationPolicy', 'closing');
  },
);

test.serial(
  'both ends of a connection are cut within a second of the policy that forbids it (A8)',
  async (t) => {
    const web = await mesh.peer('web');
    const spec = {
      selector: { matchLabels: { app: 'web' } },
      action: 'DENY',
      rules: [{ from: [{ source: { principals: ['cluster.local/ns/shop/sa/client'] } }] }],
    };
    await web.listen(QUEUED, 'queue');
    const took: number[] = [];
    while (took.length < ATTEMPTS && !took.some((ms) => ms <= CUT_MS)) {
      const client = await mesh.peer('client');
      const connection = await client.connect(await mesh.ip('web'), QUEUED);
      const accepted = await web.accept(QUEUED);
      await connection.write('before');
      t.is((await accepted.read('before'.length)).text, 'before');
      const beginMs = performance.now();
      const [ends] = await Promise.all([
        Promise.all([connection.ended(), accepted.ended()]),
        mesh.applySoon(policyYaml('cutting', spec)),
      ]);
      took.push(performance.now() - beginMs);
      t.deepEqual(
        ends.map(({ how }) => how),
        ['ECONNRESET', 'ECONNRESET'],
      );
      await mesh.delete('AuthorizationPolicy', 'cutting');
    }
    t.log(`cut after ${took.map((ms) => ms.toFixed(0)).join(', ')} ms`);
    t.true(took.some((ms) => ms <= CUT_MS));
  },
);

test.serial(
  'the end of an ALLOW policy that others stand beside closes what it allowed',
  async (t) => {
    const allow = (source: object): object => ({
      action: 'ALLOW',
      rules: [{ from: [{ source }] }],
    });
    await mesh.apply(
      policyYaml('allow-shop', { ...allow({ namespaces: ['shop'] }) }),
      policyYaml('allow-other', { ...allow({ namespaces: ['other'] }) }),
    );
    const mark = mesh.mark();
    const forbidden = await open(t, 'other/visitor', 'web', 80);
    const kept = { 'the client of the other policy': await open(t, 'client', 'web', 80) };

    await mesh.delete('AuthorizationPolicy', 'allow-other');

    await expectClosed(t, forbidden, 'visitor', /none allowed/, mark);
    await expectOpen(t, kept);
    await mesh.delete('AuthorizationPolicy', 'allow-shop');
  },
);

test.serial('a label that puts a pod under a policy closes what that forbids', async (t) => {
  const selector = { matchLabels: { role: 'closed' } };
  await mesh.apply(
    policyYaml('by-label', {
      ...{ selector, action: 'DENY' },
      rules: [{ from: [{ source: { namespaces: ['other'] } }] }],
    }),
  );
  const mark = mesh.mark();
  const forbidden = await open(t, 'other/visitor', 'web', 80);
  const kept = {
    'another client': await open(t, 'client', 'web', 80),
    'a pod without the label': await open(t, 'other/visitor', 'books', 80),
  };

  await mesh.label('shop/web', { role: 'closed' });

  await expectClosed(t, forbidden, 'visitor', /explicitly denied by: shop\/by-label/, mark);
  await expectOpen(t, kept);
  await mesh.label('shop/web', { role: null });
  const again = { 'after the label has gone': await open(t, 'other/visitor', 'web', 80) };
  await expectOpen(t, again);
  await mesh.delete('AuthorizationPolicy', 'by-label');
});

test.serial('STRICT closes an open plain connection, and no mTLS one', async (t) => {
  const mark = mesh.mark();
  const forbidden = await open(t, 'plain/stranger', 'web', 80);
  const kept = { mTLS: await open(t, 'client', 'web', 80) };

  await mesh.apply(peerAuthenticationYaml('strict', { mtls: { mode: 'STRICT' } }));

  await expectClosed(t, forbidden, 'stranger', /istio_converted_static_strict/, mark);
  await expectOpen(t, kept);
  await mesh.delete('PeerAuthentication', 'strict');
});

test.serial('a pod that comes back under another account is somebody else', async (t) => {
  await mesh.apply(
    policyYaml('by-account', {
      ...{ selector: { matchLabels: { app: 'web' } }, action: 'ALLOW' },
      rules: [{ from: [{ source: { serviceAccounts: ['shop/client'] } }] }],
    }),
  );
  const old = await open(t, 'client', 'web', 80);
  await mesh.delete('Pod', 'client');
  const mark = mesh.mark();
  await mesh.apply(podYaml('client', { node: 'node-1', account: 'impostor' }));
  await t.throwsAsync(old.echo('after'), undefined, 'the process of before has ended');

  const client = await mesh.peer('client');
  t.like(await client.say(await mesh.ip('web'), 80, 'hello'), { text: '', ended: 'ECONNRESET' });
  const record = await mesh.record({ direction: 'inbound', 'src.workload': 'client' }, mark);
  t.is(record['src.identity'], 'spiffe://cluster.local/ns/shop/sa/impostor');
  t.regex(record.error ?? '', /none allowed/);
  await mesh.delete('AuthorizationPolicy', 'by-account');
});
