import { existsSync, readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import test from 'ava';
import { readHostState, readTraces, remaining, changedParts } from '../../cli/demo/host-state.ts';
import { stopSandbox } from '../../deploy/sandbox/launch.ts';
import { Mesh } from '../support/mesh.ts';
import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';

const YAML = [
  namespaceYaml('shop'),
  podYaml('client', { node: 'node-1' }),
  podYaml('web', { node: 'node-1' }),
  serviceYaml('web', { 80: 9000 }),
].join('');
const WEB = 'spiffe://cluster.local/ns/shop/sa/web';

test.serial('two meshes side by side have the same addresses and never meet', async (t) => {
  const before = await readHostState();
  {
    await using left = new Mesh({ nodes: 1, yaml: YAML }, 'left');
    await using right = new Mesh({ nodes: 1, yaml: YAML }, 'right');
    await left.start();
    await right.start();
    for (const mesh of [left, right]) {
      const web = await mesh.peer('web');
      await web.listen(9000, 'echo', { greeting: mesh.name.padEnd(5) });
    }
    t.is(await left.ip('web'), await right.ip('web'));
    t.is(await left.vip('web'), await right.vip('web'));
    for (const [mesh, other] of [
      [left, right],
      [right, left],
    ] as const) {
      const [mark, marks] = [mesh.mark(), other.mark()];
      const connection = await (await mesh.peer('client')).connect('web.shop', 80);
      t.deepEqual(await connection.read(5), { text: mesh.name.padEnd(5) });
      t.true(await connection.echo('hello'));
      await connection.end();
      t.is((await connection.ended()).how, 'end');
      for (const direction of ['outbound', 'inbound'] as const)
        t.like(await mesh.record({ direction }, mark), { 'dst.identity': WEB, error: undefined });
      t.deepEqual(other.recordsSince(marks), []);
    }
    // A policy of one is none of the other's, nor is the end of one.
    await left.apply(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: nobody, namespace: shop }
spec: { action: DENY, rules: [{}] }
`);
    const [inLeft, inRight] = [await left.peer('client'), await right.peer('client')];
    t.like(await inLeft.say('web.shop', 80, 'hello'), { text: '', ended: 'ECONNRESET' });
    await left.stop();
    const text = 'right'.concat('hello');
    t.is((await inRight.say('web.shop', 80, 'hellohello')).text.slice(0, 10), text);
  }
  t.deepEqual(changedParts(before, await readHostState()), []);
});

test.serial('the end of a mesh whose supervisor was killed leaves nothing', async (t) => {
  const before = await readHostState();
  await using mesh = new Mesh({ nodes: 2, yaml: YAML }, 'crash');
  await mesh.start();
  const [client, web] = [await mesh.peer('client'), await mesh.peer('web')];
  await web.listen(9000);
  const open = await client.connect('web.shop', 80);
  t.true(await open.echo('open'));
  const { supervisorPid } = await mesh.sandbox.status();
  const traces = readTraces(supervisorPid);
  t.true(traces.processes.size > 10);
  t.true(traces.namespaces.size > 4);

  process.kill(supervisorPid, 'SIGKILL');
  await web.ended;
  t.deepEqual(await stopSandbox('crash'), { found: 'crashed' });
  // The kernel ends them one after the other; it tells nobody when it is done.
  const deadline = performance.now() + 5_000;
  while (remaining(traces).processes.size > 0 && performance.now() < deadline) await wait(20);
  t.deepEqual([...remaining(traces).processes], []);
  t.false(existsSync(mesh.sandbox.paths.root));
  t.deepEqual(changedParts(before, await readHostState()), []);
  // The name is free.
  await mesh.stop();
  await using again = new Mesh({ nodes: 1, yaml: YAML }, 'crash');
  await again.start();
  await again.stop();
  t.deepEqual(readdirSync(dirname(mesh.sandbox.paths.root)), []);
});
