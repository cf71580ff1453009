import test from 'ava';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { startMesh } from '../support/mesh.ts';
import { policyYaml } from '../support/mesh-policies.ts';
import { askCa } from '../support/mesh-tunnels.ts';
import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    podYaml('web', { node: 'node-2' }),
    podYaml('client', { node: 'node-1' }),
    podYaml('visitor', { node: 'node-1' }),
    podYaml('thief', { node: 'node-1' }),
    serviceYaml('web', { 80: 9000 }),
    denial('thief'),
  ].join(''),
});

const PRINCIPAL = 'spiffe://cluster.local/ns/shop/sa';

test.before('the server listens', async () => {
  await (await mesh.peer('web')).listen(9000);
});

/** A policy that refuses the pods of one account. */
function denial(account: string): string {
  const source = { principals: [`*/sa/${account}`] };
  return policyYaml(`no-${account}`, { action: 'DENY', rules: [{ from: [{ source }] }] });
}

/** What the CA has written about refusals. */
function caRefusals(): string[] {
  return readFileSync(join(mesh.sandbox.paths.logs, 'istiod-lite.log'), 'utf8')
    .split('\n')
    .filter((line) => line.includes('"certificate refused"'));
}

test.serial("a node's proxy gets no identity of another node (T10)", async (t) => {
  const cases = [
    ['node-1', `${PRINCIPAL}/web`, /no pod of shop\/web is on node node-1/],
    ['node-2', `${PRINCIPAL}/client`, /no pod of shop\/client is on node node-2/],
    ['node-1', `${PRINCIPAL}/nobody`, /no pod of shop\/nobody is on node node-1/],
    ['node-1', 'spiffe://elsewhere.example/ns/shop/sa/client', /another trust domain/],
  ] as const;
  for (const [node, identity, reason] of cases) {
    const before = caRefusals().length;
    const answer = await askCa(mesh, node, identity);
    t.like(answer, { refused: 'ERR_CA_REFUSED' }, identity);
    // Who is refused learns neither which accounts there are nor where they run.
    const told = 'refused' in answer ? answer.message : '';
    t.notRegex(told, /no pod|node-|another/);
    const refusals = caRefusals().slice(before);
    t.is(refusals.length, 1);
    t.regex(refusals[0] ?? '', reason);
    t.regex(refusals[0] ?? '', /"caller":"istio-system\/ztunnel"/);
  }
  for (const [node, account] of [
    ['node-1', 'client'],
    ['node-2', 'web'],
  ] as const)
    t.like(await askCa(mesh, node, `${PRINCIPAL}/${account}`), {
      identity: `${PRINCIPAL}/${account}`,
    });
});

for (const action of ['stop', 'kill'] as const)
  test.serial(
    `without istiod-lite (${action}) traffic goes on, and what changed arrives later`,
    async (t) => {
      const [client, visitor, thief] = [
        await mesh.peer('client'),
        await mesh.peer('visitor'),
        await mesh.peer('thief'),
      ];
      const mark = mesh.mark();
      const old = await client.connect('web.shop', 80);
      const forbidden = await visitor.connect('web.shop', 80);
      t.true(await old.echo('before'));
      t.true(await forbidden.echo('before'));
      const root = readFileSync(mesh.sandbox.paths.rootCertificate, 'utf8');

      await mesh.part('istiod-lite', action);
      t.true(await old.echo('old'));
      t.like(await client.say('web.shop', 80, 'new'), { text: 'new', ended: 'end' });
      t.like(await thief.say('web.shop', 80, 'new'), { text: '', ended: 'ECONNRESET' });
      // Written while nobody reads it.
      const documents = [{ source: 'scenario.yaml', text: denial('visitor') }];
      await mesh.sandbox.post('/v1/apply', { documents });
      if (action === 'stop') {
        t.true(await forbidden.echo('not yet'));
        await mesh.part('istiod-lite', 'start');
      }
      await mesh.settled();

      t.is((await forbidden.ended()).how, 'ECONNRESET');
      const pattern = { direction: 'inbound', 'src.workload': 'visitor', error: /policy change/ };
      const record = await mesh.record(pattern, mark);
      t.regex(record.error ?? '', /explicitly denied by: shop\/no-visitor/);
      t.like(await visitor.say('web.shop', 80, 'new'), { text: '', ended: 'ECONNRESET' });
      t.true(await old.echo('still'));
      await old.end();
      t.is((await old.ended()).how, 'end');
      t.is(readFileSync(mesh.sandbox.paths.rootCertificate, 'utf8'), root);
      await mesh.delete('AuthorizationPolicy', 'no-visitor');
      t.like(await visitor.say('web.shop', 80, 'again'), { text: 'again', ended: 'end' });
    },
  );

test.serial('a pod that starts without istiod-lite is served when it is back', async (t) => {
  await mesh.part('istiod-lite', 'stop');
  const documents = [{ source: 'scenario.yaml', text: podYaml('late', { node: 'node-1' }) }];
  await mesh.sandbox.post('/v1/apply', { documents });
  const late = await mesh.peer('late');
  // Nobody has vouched for it: it gets nowhere, also not in plain text.
  const web = await mesh.ip('web');
  const mark = mesh.mark();
  t.not((await late.say(web, 9000, 'too early')).text, 'too early');
  t.is(mesh.recordsSince(mark).filter(({ direction }) => direction === 'inbound').length, 0);

  await mesh.part('istiod-lite', 'start');
  await mesh.settled();
  t.like(await late.say(web, 9000, 'now'), { text: 'now', ended: 'end' });
  const record = await mesh.record({ direction: 'inbound', 'src.workload': 'late' }, mark);
  t.is(record['src.identity'], `${PRINCIPAL}/late`);
  t.is(record.error, undefined);
});
