import test from 'ava';
import { OUTSIDE, startMesh } from '../support/mesh.ts';
import { expectCalls, peerAuthenticationYaml, type Call } from '../support/mesh-policies.ts';
import { namespaceYaml, podYaml } from '../support/mesh-yaml.ts';

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    namespaceYaml('plain', {}),
    podYaml('web', { node: 'node-2' }),
    podYaml('books', { node: 'node-2' }),
    podYaml('client', { node: 'node-1' }),
    podYaml('stranger', { namespace: 'plain', node: 'node-1' }),
  ].join(''),
});

test.before('the servers listen', async () => {
  for (const pod of ['web', 'books']) {
    const peer = await mesh.peer(pod);
    await peer.listen(80);
    await peer.listen(90);
  }
});

const STRICT = { mode: 'STRICT' };
const PERMISSIVE = { mode: 'PERMISSIVE' };
const WEB = { matchLabels: { app: 'web' } };
const MTLS: readonly Call[] = [
  { from: 'client', port: 80 },
  { from: 'client', port: 90 },
];
const [PLAIN_80, PLAIN_90]: readonly [Call, Call] = [
  { from: 'plain/stranger', port: 80 },
  { from: 'plain/stranger', port: 90 },
];
const BY_STRICT = /explicitly denied by: istio-system\/istio_converted_static_strict/;
const BY_PORT = /explicitly denied by: shop\/converted_peer_authentication_/;

test.serial('without a PeerAuthentication, plain text is let in beside mTLS', async (t) => {
  const allowed = [...MTLS, PLAIN_80, PLAIN_90];
  await expectCalls(t, mesh, { server: 'web', node: 'node-2', allowed, refused: [], reason: /./ });
});

test.serial(
  'STRICT refuses plain text, from pods and from outside, and serves the mesh',
  async (t) => {
    await mesh.apply(peerAuthenticationYaml('shop', { mtls: STRICT }));
    const calls = { allowed: MTLS, refused: [PLAIN_80, PLAIN_90], reason: BY_STRICT };
    for (const server of ['web', 'books'])
      await expectCalls(t, mesh, { server, node: 'node-2', ...calls });

    const outside = await mesh.outside();
    const mark = mesh.mark();
    const ip = await mesh.ip('web');
    t.like(await outside.say(ip, 80, 'hello'), { text: '', ended: 'ECONNRESET' });
    const record = await mesh.record({ direction: 'inbound', 'dst.addr': `${ip}:80` }, mark);
    t.regex(record.error ?? '', BY_STRICT);
    t.is(record['src.identity'], undefined);
    t.is((await mesh.exec(OUTSIDE, ['true'])).code, 0); // it was not cut off in some other way
  },
);

test.serial('a selector takes one workload out of STRICT', async (t) => {
  await mesh.apply(peerAuthenticationYaml('web', { selector: WEB, mtls: PERMISSIVE }));
  const open = { allowed: [...MTLS, PLAIN_80, PLAIN_90], refused: [], reason: /./ };
  await expectCalls(t, mesh, { server: 'web', node: 'node-2', ...open });
  const closed = { allowed: MTLS, refused: [PLAIN_80], reason: BY_STRICT };
  await expectCalls(t, mesh, { server: 'books', node: 'node-2', ...closed });
});

test.serial('a port can be STRICT where the workload is permissive', async (t) => {
  const portLevelMtls = { 80: STRICT };
  const spec = { selector: WEB, mtls: PERMISSIVE, portLevelMtls };
  await mesh.apply(peerAuthenticationYaml('web', spec));
  const calls = { allowed: [...MTLS, PLAIN_90], refused: [PLAIN_80], reason: BY_PORT };
  await expectCalls(t, mesh, { server: 'web', node: 'node-2', ...calls });
});

test.serial('a port can be permissive where the workload is STRICT', async (t) => {
  const portLevelMtls = { 80: PERMISSIVE };
  await mesh.apply(peerAuthenticationYaml('web', { selector: WEB, mtls: STRICT, portLevelMtls }));
  const calls = { allowed: [...MTLS, PLAIN_80], refused: [PLAIN_90], reason: BY_PORT };
  await expectCalls(t, mesh, { server: 'web', node: 'node-2', ...calls });
});

test.serial('STRICT for the whole mesh, which a namespace may relax', async (t) => {
  await mesh.delete('PeerAuthentication', 'web');
  await mesh.delete('PeerAuthentication', 'shop');
  await mesh.apply(peerAuthenticationYaml('default', { mtls: STRICT }, 'istio-system'));
  const closed = { allowed: MTLS, refused: [PLAIN_80], reason: BY_STRICT };
  await expectCalls(t, mesh, { server: 'web', node: 'node-2', ...closed });
  await mesh.apply(peerAuthenticationYaml('shop', { mtls: PERMISSIVE }));
  const open = { allowed: [...MTLS, PLAIN_80], refused: [], reason: /./ };
  await expectCalls(t, mesh, { server: 'web', node: 'node-2', ...open });
});
