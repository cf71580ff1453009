import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { leafCertificates, type ConfigDump } from '../../cli/ztunnel-tables.ts';
import { privateKeyPem } from '../../certs/keys.ts';
import { makeCrl } from '../support/crl.ts';
import { startMesh } from '../support/mesh.ts';
import { waypointReady, waypointYaml } from '../support/mesh-waypoints.ts';
import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';
import { TemporaryFolder } from '../support/temporary-folder.ts';
import { makeTestCa } from '../support/test-ca.ts';

const temporary = new TemporaryFolder();
/** A CA of the test's own, so that it can sign revocation lists. */
const ca = makeTestCa({ intermediates: 1 });
const cacerts = join(temporary.path, 'cacerts');
const crlPath = join(temporary.path, 'lists', 'crl');

mkdirSync(cacerts);
for (const [name, text] of Object.entries({
  'ca-cert.pem': ca.intermediatesPem[0] ?? '',
  'ca-key.pem': privateKeyPem(ca.keys.privateKey),
  'cert-chain.pem': ca.intermediatesPem.join(''),
  'root-cert.pem': ca.rootPem,
}))
  writeFileSync(join(cacerts, name), text);
mkdirSync(join(temporary.path, 'lists'));
writeFileSync(crlPath, makeCrl(ca, []));

const USE = { 'istio.io/use-waypoint': 'waypoint' };

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    podYaml('client', { node: 'node-1' }),
    podYaml('revoked', { node: 'node-1' }),
    podYaml('web', { node: 'node-2' }),
    waypointYaml('waypoint'),
    serviceYaml('web', { 80: 80 }, {}, 'shop', USE),
  ].join(''),
  settings: {
    partEnvironment: {
      'istiod-lite': { CACERTS_DIR: cacerts },
      waypoint: { CRL_PATH: crlPath },
    },
  },
});

test.before('the waypoint runs', async () => {
  await (await mesh.peer('web')).listen(80);
  await waypointReady(mesh, 'waypoint');
});

test.after.always('nothing is left', () => {
  temporary[Symbol.dispose]();
});

/** Of the certificate that an identity has now. */
async function serialOf(node: string, identity: string): Promise<string> {
  const dump = (await mesh.page(node, '/config_dump')) as ConfigDump;
  const leaf = leafCertificates(dump).find((one) => one.identity === identity);
  return leaf?.serialNumber ?? '';
}

test.serial(
  'a waypoint cuts off who is on a new revocation list, and lets nobody like that in (T17)',
  async (t) => {
    const [kept, cut] = await Promise.all(
      ['client', 'revoked'].map(async (pod) =>
        (await mesh.peer(pod)).connect(await mesh.vip('web'), 80),
      ),
    );
    if (kept === undefined || cut === undefined) throw new Error('no connections');
    t.true(await kept.echo('before'));
    t.true(await cut.echo('before'));
    const serial = await serialOf('node-1', 'spiffe://cluster.local/ns/shop/sa/revoked');
    t.not(serial, '');
    writeFileSync(crlPath, makeCrl(ca, [serial]));
    t.is((await cut.ended()).how, 'ECONNRESET');
    t.true(await kept.echo('after'));
    const again = await (await mesh.peer('revoked')).say(await mesh.vip('web'), 80, 'hello');
    t.is(again.text, '');
    t.true(await kept.echo('still'));

    // And an endpoint, which the waypoint dials.
    const web = await serialOf('node-2', 'spiffe://cluster.local/ns/shop/sa/web');
    writeFileSync(crlPath, makeCrl(ca, [web]));
    t.is((await kept.ended()).how, 'ECONNRESET');
    const refused = await (await mesh.peer('client')).say(await mesh.vip('web'), 80, 'hello');
    t.is(refused.text, '');
    writeFileSync(crlPath, makeCrl(ca, []));
    for (;;) {
      // The file is read once it has settled.
      const { text } = await (await mesh.peer('client')).say(await mesh.vip('web'), 80, 'hello');
      if (text === 'hello') break;
    }
  },
);
