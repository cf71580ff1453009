/* Every file of deploy/examples/rollout, as it is, against a mesh in which curl asks. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { startMesh } from '../../support/mesh.ts';
import { waypointReady } from '../../support/mesh-waypoints.ts';

const FOLDER = join(import.meta.dirname, '../../../deploy/examples/rollout');
const example = (name: string): string => readFileSync(join(FOLDER, `${name}.yaml`), 'utf8');

const mesh = startMesh(test, { yaml: example('app') });

test.before('its waypoint runs', async () => {
  await waypointReady(mesh, 'waypoint');
});

/** How many requests each version has answered. */
async function ask(
  count: number,
  headers: readonly string[] = [],
): Promise<Readonly<Record<string, number>>> {
  const fields = headers.flatMap((header) => ['-H', header]);
  const url = `http://web/?request=[1-${count}]`;
  const { code, stdout, stderr } = await mesh.exec('client', ['curl', '-sS', ...fields, url]);
  if (code !== 0) throw new Error(stderr);
  const counts: Record<string, number> = {};
  for (const [, version = ''] of stdout.matchAll(/^version: (\S+)$/gm))
    counts[version] = (counts[version] ?? 0) + 1;
  return counts;
}

test.serial('a canary by weight gets a tenth of the requests', async (t) => {
  await mesh.apply(example('canary-by-weight'));
  const { v1 = 0, v2 = 0 } = await ask(1000);
  t.is(v1 + v2, 1000);
  // Five standard deviations of a fair choice on each side.
  t.true(v2 > 50 && v2 < 150, `${v2} of 1000 requests`);
});

test.serial('a canary by header is for those who ask for it', async (t) => {
  await mesh.apply(example('canary-by-header'));
  t.deepEqual(await ask(20), { v1: 20 });
  t.deepEqual(await ask(20, ['x-canary: always']), { v2: 20 });
  t.deepEqual(await ask(20, ['x-canary: never']), { v1: 20 });
});

test.serial(
  'a canary by cookie is for those who have it, among whatever other cookies',
  async (t) => {
    await mesh.apply(example('canary-by-cookie'));
    t.deepEqual(await ask(20), { v1: 20 });
    for (const cookie of ['canary=always', 'a=b; canary=always', 'canary=always; a=b'])
      t.deepEqual(await ask(20, [`cookie: ${cookie}`]), { v2: 20 }, cookie);
    for (const cookie of ['canary=never', 'no-canary=always', 'canary=always-not', 'a=b'])
      t.deepEqual(await ask(20, [`cookie: ${cookie}`]), { v1: 20 }, cookie);
  },
);

test.serial('blue and green change places for all requests at once, and back', async (t) => {
  const blue = example('blue-green');
  const green = blue.replace('weight: 100', 'weight: was').replace('weight: 0', 'weight: 100');
  await mesh.apply(blue);
  t.deepEqual(await ask(100), { v1: 100 });
  await mesh.apply(green.replace('weight: was', 'weight: 0'));
  t.deepEqual(await ask(100), { v2: 100 });
  await mesh.apply(blue);
  t.deepEqual(await ask(100), { v1: 100 });
});

test.serial('an A/B test gives each group of users its version', async (t) => {
  await mesh.apply(example('ab-test'));
  const telephone = 'user-agent: Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X)';
  t.deepEqual(await ask(20, [telephone]), { v2: 20 });
  t.deepEqual(await ask(20, ['user-agent: Mozilla/5.0 (X11; Linux x86_64)']), { v1: 20 });
});
