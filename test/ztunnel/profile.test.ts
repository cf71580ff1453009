import test from 'ava';
import { startMesh } from '../support/mesh.ts';
import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';

const mesh = startMesh(test, {
  nodes: 1,
  yaml: [
    namespaceYaml('shop'),
    podYaml('client'),
    podYaml('web'),
    serviceYaml('web', { 80: 9000 }),
  ].join(''),
});

type CpuProfile = { nodes: { callFrame: { functionName: string } }[] };

/** Does something again and again until an answer has come. */
async function untilSettled<T>(answer: Promise<T>, action: () => Promise<void>): Promise<T> {
  const pending = Symbol('pending');
  for (;;) {
    await action();
    const first = await Promise.race([answer, Promise.resolve(pending)]);
    if (first !== pending) return await answer;
  }
}

test.serial(
  'the CPU profile of a node proxy shows what its threads do, while bytes move',
  async (t) => {
    await (await mesh.peer('web')).listen(9000);
    const client = await mesh.peer('client');
    const connection = await client.connect('web.shop', 80);
    const page = mesh.page('node-1', '/debug/pprof/profile?seconds=1&frequency=1000');
    const echoes: number[] = [];
    const profiles = await untilSettled(page as Promise<Record<string, CpuProfile>>, async () => {
      if (await connection.echo('x'.repeat(1000))) echoes.push(performance.now());
    });
    t.deepEqual(Object.keys(profiles), ['control', 'data-0']);
    const functions =
      profiles['data-0']?.nodes.map(({ callFrame }) => callFrame.functionName) ?? [];
    t.true(functions.includes('onEvent') || functions.includes('#turn'), functions.join(' '));
    t.true(echoes.length > 10, `${echoes.length} echoes`);
    await connection.end();
  },
);
