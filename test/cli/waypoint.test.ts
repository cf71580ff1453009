/* halo waypoint as a process, against a sandbox with control plane and proxies. */
import { join } from 'node:path';
import test from 'ava';
import { HaloProgram } from '../support/halo-program.ts';
import type { Ended } from '../support/run-program.ts';

const app = join(import.meta.dirname, '../../deploy/examples/demo/app.yaml');
const program = new HaloProgram('waypoint');

function halo(...args: string[]): Promise<Ended> {
  return program.run(...args);
}

test.before('a mesh with the shop in it', async (t) => {
  const { code, stderr } = await halo('up', '-f', app);
  t.is(code, 0, stderr);
  await halo('label', 'ns', 'shop', 'istio.io/dataplane-mode=ambient');
});

test.after.always('the mesh ends', async () => {
  await program.end();
});

test.serial('halo waypoint generate prints what halo apply takes', async (t) => {
  const { code, stdout } = await halo('waypoint', 'generate', 'pay', '--for', 'all', '-n', 'shop');
  t.is(code, 0);
  t.is(
    stdout,
    `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  labels:
    istio.io/waypoint-for: all
  name: pay
  namespace: shop
spec:
  gatewayClassName: istio-waypoint
  listeners:
    - name: mesh
      port: 15008
      protocol: HBONE
`,
  );
});

test.serial('halo waypoint refuses the name that stands for no waypoint', async (t) => {
  const { code, stderr } = await halo('waypoint', 'apply', 'none', '-n', 'shop');
  t.is(code, 2);
  t.regex(stderr, /^halo: No waypoint can be named "none"/);
});

test.serial('without a waypoint, lists say so', async (t) => {
  for (const verb of ['list', 'status']) {
    const { code, stdout, stderr } = await halo('waypoint', verb, '-n', 'shop');
    t.like(
      { code, stdout, stderr },
      { code: 0, stdout: '', stderr: 'No waypoints in namespace shop\n' },
    );
  }
});

test.serial(
  'halo waypoint apply returns when the waypoint is ready, and enrols its namespace',
  async (t) => {
    const { code, stdout, stderr } = await halo(
      'waypoint',
      'apply',
      '-n',
      'shop',
      '--enroll-namespace',
    );
    t.is(code, 0, stderr);
    t.is(
      stdout,
      'waypoint shop/waypoint applied\nwaypoint shop/waypoint is ready\n' +
        'namespace shop labelled istio.io/use-waypoint=waypoint\n',
    );
    const services = await halo('ztunnel', 'services', '-n', 'shop');
    t.regex(services.stdout, /^shop +web +10\.96\.\S+ +shop\/waypoint\S* +1\/1$/m);
  },
);

test.serial('halo waypoint list and status show it, for people and for programs', async (t) => {
  const list = await halo('waypoint', 'list', '-A');
  t.regex(
    list.stdout,
    /^NAMESPACE +NAME +REVISION +TRAFFIC TYPE +PROGRAMMED\nshop +waypoint +default +service +True\n$/,
  );
  const status = await halo('waypoint', 'status', 'waypoint', '-n', 'shop');
  t.is(status.code, 0);
  t.regex(
    status.stdout,
    /^NAMESPACE +NAME +STATUS +TYPE +REASON +MESSAGE\nshop +waypoint +True +Programmed +Programmed +Resource programmed/,
  );
  const json = JSON.parse((await halo('waypoint', 'list', '-n', 'shop', '-o', 'json')).stdout) as {
    items: { kind: string }[];
  };
  t.deepEqual(
    json.items.map(({ kind }) => kind),
    ['Gateway'],
  );
  const completed = await halo('__complete', '--', 'waypoint', 'delete', '');
  t.regex(completed.stdout, /^waypoint/m);
});

test.serial(
  'halo waypoint apply takes no namespace from another waypoint unless told to',
  async (t) => {
    const other = ['waypoint', 'apply', 'other', '-n', 'shop', '--enroll-namespace'];
    const refused = await halo(...other);
    t.is(refused.code, 1);
    t.regex(
      refused.stderr,
      /Cannot enrol namespace shop: it uses waypoint waypoint; --overwrite replaces that/,
    );
    const { code, stderr } = await halo(...other, '--overwrite');
    t.is(code, 0, stderr);
  },
);

test.serial('halo waypoint status names what a waypoint lacks, and ends with 4', async (t) => {
  await halo('scale', 'deploy/other', '0', '-n', 'shop');
  await halo('wait');
  const args = ['waypoint', 'status', 'other', '-n', 'shop', '--timeout', '100ms'];
  const { code, stdout } = await halo(...args);
  t.is(code, 4);
  t.regex(
    stdout,
    /^shop +other +False +Programmed +Pending +no replica of the waypoint is ready$/m,
  );
  t.is((await halo(...args, '--no-wait')).code, 0);
});

test.serial('halo waypoint delete removes them, and says which there were not', async (t) => {
  const named = await halo('waypoint', 'delete', 'other', 'nobody', '-n', 'shop');
  t.is(named.code, 1);
  t.is(named.stdout, 'waypoint shop/other deleted\n');
  t.is(named.stderr, 'there is no waypoint shop/nobody\n');
  t.is((await halo('waypoint', 'delete', '-n', 'shop')).code, 2);
  const all = await halo('waypoint', 'delete', '--all', '-n', 'shop');
  t.is(all.stdout, 'waypoint shop/waypoint deleted\n');
  t.is((await halo('waypoint', 'list', '-n', 'shop')).stdout, '');
});
