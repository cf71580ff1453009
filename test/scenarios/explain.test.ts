import test, { type ExecutionContext } from 'ava';
import { explainConnection } from '../../cli/explain-connection.ts';
import { formatExplanation, type Explanation } from '../../cli/explain-text.ts';
import { startMesh } from '../support/mesh.ts';
import { policyYaml } from '../support/mesh-policies.ts';
import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    namespaceYaml('plain', {}),
    podYaml('web', { node: 'node-2' }),
    podYaml('client', { node: 'node-1' }),
    podYaml('visitor', { node: 'node-1' }),
    podYaml('stranger', { namespace: 'plain', node: 'node-1' }),
    podYaml('guarded', { node: 'node-2', labels: { 'istio.io/use-waypoint': 'nobody' } }),
    serviceYaml('web', { 80: 9000 }),
    serviceYaml('books', { 80: 9000 }, { selector: { app: 'web' } }),
  ].join(''),
});

test.before('the servers listen', async () => {
  for (const pod of ['web', 'guarded']) await (await mesh.peer(pod)).listen(9000);
});

const PRINCIPAL = 'spiffe://cluster.local/ns/shop/sa';
const PEOPLE = {
  ...{ out: () => undefined, note: () => undefined, interactive: false, colours: false },
  signal: new AbortController().signal,
};

type Told = Readonly<{ explanation: Explanation; text: string }>;

async function explain(source: string, destination: string): Promise<Told> {
  const explanation = await explainConnection(mesh.sandbox, source, destination);
  return { explanation, text: formatExplanation(PEOPLE, explanation) };
}

/**
 * What `halo explain` says, and what really becomes of such a connection. All of its records are written by then: a late one
 * would be taken for one of the next connection.
 */
async function explainAndTry(
  t: ExecutionContext,
  source: string,
  [host, port]: readonly [string, number],
): Promise<Told & { log: number }> {
  const told = await explain(source, `${host}:${port}`);
  const peer = await mesh.peer(source);
  const log = mesh.mark();
  const said = await peer.say(host, port, 'hello');
  t.is(told.explanation.allowed, said.text === 'hello', told.text);
  t.is(said.ended, told.explanation.allowed ? 'end' : 'ECONNRESET');
  for (const direction of ['outbound', 'inbound'] as const)
    if (told.explanation[direction] !== undefined) await mesh.record({ direction }, log);
  return { ...told, log };
}

test.serial('an allowed connection is explained hop by hop, as it goes', async (t) => {
  const { explanation, text, log } = await explainAndTry(t, 'shop/client', ['web.shop', 80]);
  t.true(explanation.allowed);
  const record = await mesh.record({ direction: 'outbound' }, log);
  t.is(explanation.outbound?.outcome.connectTo, String(record['dst.addr']));
  t.is(explanation.outbound?.outcome.authority, String(record['dst.hbone_addr']));
  t.deepEqual(explanation.outbound?.outcome.peers, [`${PRINCIPAL}/web`]);
  t.is(explanation.outbound?.outcome.peers?.[0], String(record['dst.identity']));
  t.is(explanation.inbound?.peer.identity, `${PRINCIPAL}/client`);
  t.regex(text, /Allowed, over mutual TLS: no allow policies apply/);
});

test.serial('plain text that the mesh lets in is explained as such', async (t) => {
  const web = await mesh.ip('web');
  const { explanation, text } = await explainAndTry(t, 'plain/stranger', [web, 9000]);
  t.is(explanation.outbound, undefined);
  t.true(explanation.inbound?.plaintext);
  t.regex(text, /Allowed, in plain text/);
});

test.serial('a refusal by DENY names the policy and its rule', async (t) => {
  await mesh.apply(
    policyYaml('no-visitors', {
      action: 'DENY',
      rules: [
        { to: [{ operation: { ports: ['1'] } }] },
        { from: [{ source: { principals: ['*/sa/visitor'] } }] },
      ],
    }),
  );
  const { explanation, text, log } = await explainAndTry(t, 'shop/visitor', ['web.shop', 80]);
  t.like(explanation.inbound?.outcome, {
    ...{ kind: 'refuse', status: 401, policy: 'shop/no-visitors', rule: 1 },
  });
  t.regex(text, /shop\/no-visitors +NAMESPACE +DENY +rule 1 matches/);
  t.regex(text, /Refused by the ztunnel of node-2: explicitly denied by: shop\/no-visitors/);
  const record = await mesh.record({ direction: 'inbound' }, log);
  t.regex(record.error ?? '', /explicitly denied by: shop\/no-visitors/);
  const { explanation: other } = await explainAndTry(t, 'shop/client', ['web.shop', 80]);
  t.true(other.allowed);
  await mesh.delete('AuthorizationPolicy', 'no-visitors');
});

test.serial(
  'a refusal for want of a permission names the nearest rule and what it lacks',
  async (t) => {
    await mesh.apply(
      policyYaml('clients', {
        action: 'ALLOW',
        rules: [
          {
            from: [{ source: { namespaces: ['elsewhere'] } }],
            to: [{ operation: { ports: ['1'] } }],
          },
          {
            from: [{ source: { principals: ['cluster.local/ns/shop/sa/client'] } }],
            to: [{ operation: { ports: ['9000'] } }],
          },
        ],
      }),
    );
    const { explanation, text } = await explainAndTry(t, 'shop/visitor', ['web.shop', 80]);
    t.like(explanation.inbound?.nearestAllow, { policy: 'shop/clients', rule: 1 });
    t.is(explanation.inbound?.nearestAllow?.unmet.length, 1);
    t.regex(text, /nearest rule that would allow it: shop\/clients, rule 1; unmet: .*sa\/client/);
    const { explanation: allowed } = await explainAndTry(t, 'shop/client', ['web.shop', 80]);
    t.like(allowed.inbound?.outcome, { kind: 'admit', policy: 'shop/clients', rule: 1 });
    const { explanation: plain } = await explainAndTry(t, 'plain/stranger', [
      await mesh.ip('web'),
      9000,
    ]);
    t.false(plain.allowed);
    await mesh.delete('AuthorizationPolicy', 'clients');
  },
);

test.serial(
  'a Service whose waypoint is missing is refused, with the reason everywhere',
  async (t) => {
    const labels = { 'istio.io/use-waypoint': 'missing' };
    await mesh.apply(serviceWith('books', { labels }));
    const before = await mesh.metrics('node-1');
    const { explanation, text, log } = await explainAndTry(t, 'shop/client', ['books.shop', 80]);
    const reason = /waypoint shop\/missing does not exist/;
    t.is(explanation.outbound?.outcome.kind, 'reject');
    t.regex(text, reason);
    t.regex(text, /Refused by the ztunnel of node-1/);
    const record = await mesh.record({ direction: 'outbound' }, log);
    t.regex(record.error ?? '', reason);
    t.is(record['dst.service'], 'books.shop.svc.cluster.local');
    t.deepEqual([record['bytes_sent'], record['bytes_recv']], [0, 0]);
    t.is(mesh.recordsSince(log).filter(({ direction }) => direction === 'inbound').length, 0);
    const grown = (await mesh.metrics('node-1')).growth(
      before,
      'istio_tcp_connections_failed_total',
    );
    t.is(grown, 1);
    // The same pods by another Service, or by their address, have no waypoint.
    t.true((await explainAndTry(t, 'shop/client', ['web.shop', 80])).explanation.allowed);
  },
);

test.serial('an annotation lets a Service without its waypoint stay open', async (t) => {
  const metadata = {
    labels: { 'istio.io/use-waypoint': 'missing' },
    annotations: { 'halo.dev/waypoint-fail-open': 'true' },
  };
  await mesh.apply(serviceWith('books', metadata));
  const { explanation, log } = await explainAndTry(t, 'shop/client', ['books.shop', 80]);
  t.true(explanation.allowed);
  const record = await mesh.record({ direction: 'inbound' }, log);
  t.is(record['src.identity'], `${PRINCIPAL}/client`);
});

test.serial('a pod whose waypoint is missing is called by nobody, whatever the way', async (t) => {
  const guarded = await mesh.ip('guarded');
  const reason = /waypoint shop\/nobody does not exist/;
  const fromMesh = await explainAndTry(t, 'shop/client', [guarded, 9000]);
  t.regex(fromMesh.text, reason);
  t.regex((await mesh.record({ direction: 'outbound' }, fromMesh.log)).error ?? '', reason);
  const fromOutside = await explainAndTry(t, 'plain/stranger', [guarded, 9000]);
  t.regex(fromOutside.text, reason);
  t.regex((await mesh.record({ direction: 'inbound' }, fromOutside.log)).error ?? '', reason);
});

function serviceWith(name: string, metadata: object): string {
  const yaml = serviceYaml(name, { 80: 9000 }, { selector: { app: 'web' } });
  const object = JSON.parse(yaml.replace('---\n', '')) as { metadata: object };
  return `---\n${JSON.stringify({ ...object, metadata: { ...object.metadata, ...metadata } })}\n`;
}
