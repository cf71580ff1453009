import test from 'ava';
import { startMesh } from '../support/mesh.ts';
import { waypointReady, waypointYaml } from '../support/mesh-waypoints.ts';
import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';

const PORT = 9000;

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop', {
      'istio.io/dataplane-mode': 'ambient',
      'istio.io/use-waypoint': 'waypoint',
    }),
    waypointYaml('waypoint'),
    podYaml('client', { node: 'node-1' }),
    podYaml('open', { node: 'node-2', labels: { 'istio.io/dataplane-mode': 'none' } }),
    serviceYaml('open', { [PORT]: PORT }),
  ].join(''),
  settings: {
    partEnvironment: {
      waypoint: { KEEPALIVE_TIME: '1s', KEEPALIVE_INTERVAL: '1s', KEEPALIVE_RETRIES: '1' },
    },
  },
});

test('an idle connection to a pod outside of the mesh that is gone without a word ends', async (t) => {
  await waypointReady(mesh, 'waypoint');
  const server = await mesh.peer('open');
  await server.listen(PORT);
  const client = await mesh.peer('client');
  const connection = await client.connect(await mesh.vip('open'), PORT);
  t.true(await connection.echo('hello'));
  // Only the probes of the waypoint can find this.
  const rules = ['input', 'output'].map(
    (hook) => `chain ${hook} { type filter hook ${hook} priority 0; meta l4proto tcp drop; }`,
  );
  const { code, stderr } = await mesh.exec('open', [
    'nft',
    `table inet gone {\n${rules.join('\n')}\n}`,
  ]);
  t.is(code, 0, stderr);
  t.is((await connection.ended()).how, 'ECONNRESET');
});
