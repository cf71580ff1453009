import test from 'ava';
import { setTimeout as delay } from 'node:timers/promises';
import { controlPlaneOf } from '../../cli/parts.ts';
import { leafCertificates, type ConfigDump } from '../../cli/ztunnel-tables.ts';
import { fetchAdmin } from '../../mesh/admin/client.ts';
import { OUTSIDE, startMesh } from '../support/mesh.ts';
import type { Connection } from '../support/mesh-peer.ts';
import { genuineCertificate, tryTunnels } from '../support/mesh-tunnels.ts';
import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';
import type { TunnelCertificate, TunnelReport } from '../support/tunnel-task.ts';

/** They are renewed after half of it. */
const CERTIFICATE_LIFETIME = '8s';

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    podYaml('web', { node: 'node-2' }),
    podYaml('client', { node: 'node-1' }),
    podYaml('visitor', { node: 'node-1' }),
    serviceYaml('web', { 80: 9000 }),
  ].join(''),
  settings: { partEnvironment: { ztunnel: { SECRET_TTL: CERTIFICATE_LIFETIME } } },
});

const CLIENT = 'spiffe://cluster.local/ns/shop/sa/client';
const WEB = 'spiffe://cluster.local/ns/shop/sa/web';
const NEW_SERIAL_TIMEOUT_MS = 15_000;

test.before('the server listens', async () => {
  await (await mesh.peer('web')).listen(9000);
});

async function serialOf(node: string, identity: string): Promise<string> {
  const dump = (await mesh.page(node, '/config_dump')) as ConfigDump;
  const leaf = leafCertificates(dump).find((one) => one.identity === identity);
  return leaf?.serialNumber ?? '';
}

/** Waits until both proxies have got certificates anew. */
async function renewed(): Promise<void> {
  const holders = [
    ['node-1', CLIENT],
    ['node-2', WEB],
  ] as const;
  const before = await Promise.all(holders.map(([node, identity]) => serialOf(node, identity)));
  const deadlineMs = performance.now() + NEW_SERIAL_TIMEOUT_MS;
  for (const [index, [node, identity]] of holders.entries())
    while ((await serialOf(node, identity)) === before[index]) {
      if (performance.now() > deadlineMs) throw new Error(`no new certificate of ${identity}`);
      await delay(100);
    }
}

async function tryAt(web: string, certificate: TunnelCertificate): Promise<TunnelReport> {
  return tryTunnels(mesh, OUTSIDE, {
    ...{ host: web, port: 15008, certificate },
    requests: [{ authority: `${web}:9000`, text: 'hello' }],
  });
}

async function open(pod: string): Promise<Connection> {
  return (await mesh.peer(pod)).connect('web.shop', 80);
}

test.serial('a certificate is renewed under an open connection, which outlives it', async (t) => {
  const web = await mesh.ip('web');
  const certificate = await genuineCertificate(mesh, 'node-1', CLIENT);
  const mark = mesh.mark();
  const held = await open('client');
  t.true(await held.echo('before'));
  const first = await tryAt(web, certificate);
  t.is(first.session, 'open');
  t.not(first.serial, '');

  // Twice half a lifetime: the one that the connection was opened with has expired.
  await renewed();
  await renewed();
  await renewed();

  const later = await tryAt(web, certificate);
  t.deepEqual(later.answers, [{ status: 200, text: 'hello' }]);
  t.not(later.serial, first.serial);
  t.true(await held.echo('after'));
  await held.end();
  t.is((await held.ended()).how, 'end');
  const record = await mesh.record({ direction: 'inbound', 'src.workload': 'client' }, mark);
  t.is(record.error, undefined);
  t.is(record['bytes_recv'], 'beforeafter'.length);
  const client = await mesh.peer('client');
  t.like(await client.say('web.shop', 80, 'new'), { text: 'new', ended: 'end' });
});

test.serial('the root is changed in steps, and no connection notices (T12)', async (t) => {
  const web = await mesh.ip('web');
  const ofOldRoot = await genuineCertificate(mesh, 'node-1', CLIENT);
  const held = await open('client');
  t.true(await held.echo('before'));
  const before = await mesh.metrics('node-2');
  const path = controlPlaneOf(await mesh.sandbox.status()).adminSocket;
  for (const step of ['begin', 'switch', 'finish']) {
    const rotate = `/ca/rotate?step=${step}`;
    const { status, body } = await fetchAdmin({ kind: 'unix', path }, rotate, { method: 'POST' });
    t.is(status, 200, body);
    // At once, while some have the new roots and some have not; and when all have them.
    for (const when of ['at once', 'later']) {
      for (const pod of ['client', 'visitor']) {
        const said = await (await mesh.peer(pod)).say('web.shop', 80, 'new');
        t.like(said, { text: 'new', ended: 'end' }, `${step}: ${pod}, ${when}`);
      }
      t.true(await held.echo(step), step);
      if (when === 'at once') await renewed();
    }
    const old = await tryAt(web, ofOldRoot);
    if (step === 'finish') t.not(old.session, 'open', 'the old root is trusted no more');
    else t.is(old.session, 'open', step);
  }
  await held.end();
  t.is((await held.ended()).how, 'end');
  const ofNewRoot = await genuineCertificate(mesh, 'node-1', CLIENT);
  t.is((await tryAt(web, ofNewRoot)).session, 'open');
  const failed = (await mesh.metrics('node-2')).growth(
    before,
    'istio_tcp_connections_failed_total',
  );
  t.is(failed, 0);
});
