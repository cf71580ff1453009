/* Every verb as a process, against a real sandbox without a mesh: nodes, pods and Services alone. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test from 'ava';
import { HaloProgram } from '../support/halo-program.ts';
import { runProgram, type Ended } from '../support/run-program.ts';

const root = join(import.meta.dirname, '../..');
const app = join(root, 'deploy/examples/demo/app.yaml');

const program = new HaloProgram('verbs');
const { env, home, path: wrapper } = program;

function halo(...args: string[]): Promise<Ended> {
  return program.run(...args);
}

/** Asks until the answer is as wanted; the sandbox makes what was asked for in its own time. */
async function eventually(args: string[], wanted: (ended: Ended) => boolean): Promise<Ended> {
  for (;;) {
    const ended = await halo(...args);
    if (wanted(ended)) return ended;
  }
}

test.before('a sandbox with the shop', async (t) => {
  const { code, stdout, stderr } = await halo('up', '--no-mesh', '-f', app, '--timeout', '30s');
  t.is(code, 0, stderr);
  t.regex(stdout, /^Sandbox "verbs" is ready: 2 nodes, /);
});

test.after.always('the sandbox ends', async (t) => {
  const { stdout } = await program.end();
  t.is(stdout, 'Sandbox "verbs" ended\n');
});

test.serial('halo up refuses to start a sandbox twice', async (t) => {
  const { code, stderr } = await halo('up', '--no-mesh');
  t.is(code, 1);
  t.regex(stderr, /^halo: Cannot start sandbox "verbs": it already runs/);
});

test.serial('halo status shows nodes and pods, and ends with 0 when all is in order', async (t) => {
  const [text, json] = await Promise.all([halo('status'), halo('status', '-o', 'json')]);
  t.is(text.code, 0, text.stdout);
  t.regex(text.stdout, /^Sandbox "verbs" has been up for \S+ and is ready\n/);
  t.regex(text.stdout, /^shop +web +1\/1 +Running +- +web +10\.244\.\S+ +node-2$/m);
  const status = JSON.parse(json.stdout) as { nodes: unknown[]; pods: { name: string }[] };
  t.is(status.nodes.length, 2);
  t.deepEqual(status.pods.map(({ name }) => name).sort(), ['customer', 'thief', 'visitor', 'web']);
});

test.serial('halo get shows a table, or objects for programs', async (t) => {
  const table = await halo('get', 'pods', '-n', 'shop', '-l', 'app=web');
  t.regex(
    table.stdout,
    /^NAME  READY  STATUS   RESTARTS  MESH  IP +NODE +AGE\nweb   1\/1    Running  0 /,
  );
  const yaml = await halo('get', 'svc/web', '-n', 'shop', '-o', 'yaml');
  t.regex(yaml.stdout, /^kind: Service$/m);
  t.regex(yaml.stdout, /^ {2}clusterIP: "?10\.96\./m);
  const everywhere = await halo('get', 'ns,svc', '-A');
  t.regex(everywhere.stdout, /^namespace\/shop /m);
  t.regex(everywhere.stdout, /^shop +service\/web +ClusterIP +10\.96\.\S+ +80\/TCP,9000\/TCP /m);
  t.regex((await halo('get', 'namespace', 'shop')).stdout, /^shop /m);
});

test.serial('halo get names what was likely meant', async (t) => {
  const { code, stderr } = await halo('get', 'pod', 'custmer', '-n', 'shop');
  t.is(code, 1);
  t.is(stderr, 'halo: Cannot find pod "custmer"; did you mean customer?\n');
});

test.serial('halo exec passes streams and the exit code on', async (t) => {
  const script = 'cat; echo problem >&2; exit 7';
  const input = randomBytes(200_000).toString('hex');
  const args = ['exec', '-i', '-n', 'shop', 'customer', '--', 'sh', '-c', script];
  const { code, stdout, stderr } = await runProgram(wrapper, args, { env, input });
  t.is(code, 7);
  t.true(stdout === input, `${stdout.length} of ${input.length} characters`);
  t.is(stderr, 'problem\n');
});

test.serial('halo exec reaches Services by name from a pod, and pods from outside', async (t) => {
  const curl = ['curl', '-s', '-m', '5'];
  const inside = await halo('exec', 'shop/customer', '--', ...curl, 'http://web.shop/');
  t.regex(inside.stdout, /^served-by: web\ncalled-by: 10\.244\./);
  const pods = await halo('get', 'pod', 'web', '-n', 'shop', '-o', 'json');
  const { status } = JSON.parse(pods.stdout) as { status: { podIP: string } };
  const url = `http://${status.podIP}:8080/`;
  const outside = await halo('exec', '--outside', '--', ...curl, url);
  t.regex(outside.stdout, /^served-by: web$/m);
});

test.serial('halo exec names the pod that was likely meant', async (t) => {
  const { code, stderr } = await halo('exec', 'shop/custmer', '--', 'ls');
  t.is(code, 1);
  t.is(stderr, 'halo: Cannot find Pod "custmer" in namespace shop; did you mean customer?\n');
});

test.serial('halo logs prints lines, and follows them', async (t) => {
  const { stdout } = await halo('logs', 'shop/web');
  t.regex(stdout, /^echo web: HTTP on 8080, TCP on 9000\n/);
  const following = spawn(wrapper, ['logs', 'shop/web', '-f', '--tail', '0'], { env });
  const path = `/${randomBytes(8).toString('hex')}`;
  const lines = createInterface({ input: following.stdout });
  // Requests until one is seen: the first may come before the log is followed.
  const asking = new AbortController();
  const ask = async (): Promise<void> => {
    while (!asking.signal.aborted)
      await halo('exec', 'shop/customer', '--', 'curl', '-s', `http://web.shop${path}`);
  };
  const asked = ask();
  for await (const line of lines) if (line.startsWith(`GET ${path} 200 from 10.244.`)) break;
  asking.abort();
  following.kill();
  await asked;
  t.pass();
});

test.serial('halo label sets and removes labels', async (t) => {
  await halo('label', 'ns', 'shop', 'team=blue', 'tier=front');
  const after = await halo('label', 'namespace/shop', 'team-');
  t.is(after.stdout, 'namespace/shop labelled\n');
  const { stdout } = await halo('get', 'ns', 'shop', '--show-labels');
  t.regex(stdout, /tier=front/);
  t.notRegex(stdout, /team=blue/);
  t.is((await halo('label', 'ns', 'shop', 'team')).code, 2);
});

test.serial('halo scale and rollout restart change the pods of a Deployment', async (t) => {
  const file = join(home.path, 'deployment.yaml');
  writeFileSync(
    file,
    `apiVersion: apps/v1
kind: Deployment
metadata: { name: many, namespace: shop }
spec:
  replicas: 1
  selector: { matchLabels: { app: many } }
  template:
    metadata: { labels: { app: many } }
    spec: { containers: [{ name: client, image: halo/client }] }
`,
  );
  t.is((await halo('apply', '-f', file)).stdout, 'deployment/many created\n');
  t.is((await halo('scale', 'deploy/many', '3', '-n', 'shop')).code, 0);
  const ready = ({ stdout }: Ended): boolean => /^many +3\/3 /m.test(stdout);
  await eventually(['get', 'deploy', 'many', '-n', 'shop'], ready);
  const names = async (): Promise<string[]> => {
    const { stdout } = await halo('get', 'pods', '-n', 'shop', '-l', 'app=many', '-o', 'json');
    const { items } = JSON.parse(stdout) as { items: { metadata: { name: string } }[] };
    return items.map(({ metadata }) => metadata.name);
  };
  const before = await names();
  t.is(before.length, 3);
  t.is((await halo('rollout', 'restart', 'many', '-n', 'shop')).code, 0);
  for (let now = before; now.length !== 3 || now.some((name) => before.includes(name)); )
    now = await names();
  const exec = await halo('exec', '-n', 'shop', 'deploy/many', '--', 'echo', 'here');
  t.is(exec.stdout, 'here\n');
  t.is((await halo('delete', '-f', file)).stdout, 'deployment/many deleted\n');
});

test.serial('halo apply refuses all when one object is wrong, and says where', async (t) => {
  const file = join(home.path, 'wrong.yaml');
  writeFileSync(
    file,
    `apiVersion: v1
kind: ServiceAccount
metadata: { name: fine, namespace: shop }
---
apiVersion: v1
kind: Service
metadata: { name: wrong, namespace: shop }
spec: { ports: [{ port: 99999 }] }
`,
  );
  const { code, stderr } = await halo('apply', '-f', file);
  t.is(code, 1);
  t.regex(stderr, /wrong\.yaml:8/);
  t.is((await halo('get', 'sa', 'fine', '-n', 'shop')).code, 1);
});

test.serial('halo delete fails for what does not exist, unless told otherwise', async (t) => {
  const args = ['delete', 'pod', 'nobody', '-n', 'shop'];
  const { code, stderr } = await halo(...args);
  t.is(code, 1);
  t.is(stderr, 'pod/nobody does not exist\n');
  t.is((await halo(...args, '--ignore-missing')).code, 0);
});

test.serial(
  'halo port-forward brings a Service to this host until it is interrupted',
  async (t) => {
    const forwarding = spawn(wrapper, ['port-forward', 'svc/web', '0:80', '-n', 'shop'], { env });
    const ended = new Promise((resolve) => forwarding.on('close', resolve));
    const lines = createInterface({ input: forwarding.stdout });
    const { value } = (await lines[Symbol.asyncIterator]().next()) as { value: string };
    const [, port = ''] = /^Forwarding 127\.0\.0\.1:(\d+) -> svc\/web:80$/.exec(value) ?? [];
    const body = 'x'.repeat(300_000);
    const answers = await Promise.all(
      ['a', 'b', 'c'].map(async (path) => {
        const answer = await fetch(`http://127.0.0.1:${port}/${path}`, { method: 'POST', body });
        return answer.text();
      }),
    );
    answers.forEach((answer, index) => {
      t.regex(answer, new RegExp(`^request: POST /${'abc'[index] ?? ''}$`, 'm'));
      t.true(answer.includes(body));
    });
    forwarding.kill('SIGINT');
    t.is(await ended, 0);
  },
);

test.serial('halo port-forward says when the port of this host is taken', async (t) => {
  const first = spawn(wrapper, ['port-forward', 'shop/web', '0:8080'], { env });
  const lines = createInterface({ input: first.stdout });
  const { value } = (await lines[Symbol.asyncIterator]().next()) as { value: string };
  const [, port = ''] = /127\.0\.0\.1:(\d+)/.exec(value) ?? [];
  const { code, stderr } = await halo('port-forward', 'shop/web', `${port}:8080`);
  first.kill();
  t.is(code, 1);
  t.regex(stderr, /^halo: Cannot listen on 127\.0\.0\.1 port \d+: .*EADDRINUSE/);
});

test.serial('completion knows the names in the running sandbox', async (t) => {
  const complete = async (...words: string[]): Promise<string[]> => {
    const { stdout } = await halo('__complete', '--', ...words);
    return stdout.split('\n').flatMap((line) => (line === '' ? [] : [line.split('\t')[0] ?? '']));
  };
  t.deepEqual(await complete('exec', 'shop/c'), ['shop/customer']);
  t.deepEqual(await complete('get', 'pods', 'we'), ['web']);
  t.deepEqual(await complete('get', '-n', 'sh'), ['shop']);
  t.deepEqual(await complete('port-forward', 'svc/w'), ['svc/web']);
  t.deepEqual(await complete('explain', 'shop/customer', 'web'), ['web.shop']);
  t.deepEqual(await complete('status', '--name', ''), ['verbs']);
});

test.serial('halo explain says that no proxy is on the way', async (t) => {
  const { code, stdout } = await halo('explain', 'shop/customer', 'web:80');
  t.is(code, 0);
  t.regex(stdout, /^shop\/customer -> web\.shop \(10\.96\.\d+\.\d+:80\)\n/);
  t.regex(stdout, /^Not in the mesh on either side: plain text, that no policy sees$/m);
  const unclear = await halo('explain', 'shop/customer', 'web');
  t.is(unclear.code, 2);
  t.regex(unclear.stderr, /Say which port of web\.shop is meant: it has 80, 9000/);
});

test.serial('halo check sees applied objects as the surroundings of new ones', async (t) => {
  const policy = join(root, 'deploy/examples/demo/deny-thief.yaml');
  const { code, stdout } = await halo('check', policy);
  t.is(stdout, 'Nothing found\n');
  t.is(code, 0);
});
