import test from 'ava';
import { startMesh } from '../support/mesh.ts';
import { waypointReady, waypointYaml } from '../support/mesh-waypoints.ts';
import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';

const USE = { 'istio.io/use-waypoint': 'waypoint' };

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    podYaml('web', { node: 'node-2' }),
    podYaml('client', { node: 'node-1' }),
    serviceYaml('web', { 80: 80 }),
  ].join(''),
});

test.before('the server listens', async () => {
  const web = await mesh.peer('web');
  await web.listen(80);
});

test.serial('a Gateway becomes a waypoint that carries what is for its services', async (t) => {
  await mesh.apply(waypointYaml('waypoint'));
  const gateway = await waypointReady(mesh, 'waypoint');
  t.log(JSON.stringify(gateway['status']));
  await mesh.apply(
    serviceYaml('web', { 80: 80 }).replace(
      '"namespace":"shop"',
      `"namespace":"shop","labels":${JSON.stringify(USE)}`,
    ),
  );
  const client = await mesh.peer('client');
  const mark = mesh.mark();
  const said = await client.say(await mesh.vip('web'), 80, 'hello');
  t.like(said, { text: 'hello' });
  const record = await mesh.record({ direction: 'inbound' }, mark);
  t.log(JSON.stringify(record));
});
