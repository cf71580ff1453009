/* The verbs that look into a running mesh, as processes, against a sandbox with control plane and proxies. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import test from 'ava';
import { HaloProgram } from '../support/halo-program.ts';
import type { Ended } from '../support/run-program.ts';

const root = join(import.meta.dirname, '../..');
const example = (file: string): string => join(root, 'deploy/examples/demo', file);

const program = new HaloProgram('mesh');
const { env, path: wrapper } = program;

function halo(...args: string[]): Promise<Ended> {
  return program.run(...args);
}

/** A connection from the customer to the echo port of the shop, held by the command's own input. */
function hold(): ChildProcessWithoutNullStreams {
  const client = join(root, 'cli/demo/pod-client.ts');
  const command = [process.execPath, client, 'hold', 'web.shop', '9000'];
  return spawn(wrapper, ['exec', '-i', 'shop/customer', '--', ...command], { env });
}

async function nextText(held: ChildProcessWithoutNullStreams): Promise<string> {
  const [chunk] = (await once(held.stdout, 'data')) as [Buffer];
  return chunk.toString();
}

test.before('a mesh with the shop in it', async (t) => {
  const up = await halo('up', '-f', example('app.yaml'), '-f', example('deny-thief.yaml'));
  t.is(up.code, 0, up.stderr);
  await halo('label', 'ns', 'shop', 'istio.io/dataplane-mode=ambient', '--no-wait');
  const wait = await halo('wait');
  t.is(wait.code, 0, wait.stderr);
  t.regex(wait.stdout, /^All 2 proxies have revision \d+\n$/);
});

test.after.always('the mesh ends', async () => {
  await program.end();
});

test('halo status shows pods in the mesh, their certificates, and proxies in sync', async (t) => {
  const { code, stdout } = await halo('status');
  t.is(code, 0, stdout);
  t.regex(stdout, /^shop +web +1\/1 +Running +enabled +web /m);
  t.regex(
    stdout,
    /^spiffe:\/\/cluster\.local\/ns\/shop\/sa\/web +Available +23h59m +[0-9a-f]+ +node-2$/m,
  );
  t.regex(stdout, /^ztunnel-node-1\.istio-system +synced +\d+$/m);
});

test('halo ztunnel shows what the proxies know, with the columns of istioctl', async (t) => {
  const shown = async (...args: string[]): Promise<string> =>
    (await halo('ztunnel', ...args)).stdout;
  const workloads = await shown('workloads', '-n', 'shop');
  t.regex(workloads, /^NAMESPACE +POD NAME +ADDRESS +NODE +WAYPOINT +PROTOCOL\n/);
  t.regex(workloads, /^shop +web +10\.244\.\S+ +node-2 +None +HBONE$/m);
  t.notRegex(workloads, /istio-system/);
  t.regex(await shown('services'), /^shop +web +10\.96\.\S+ +None +1\/1$/m);
  t.regex(await shown('policies'), /^shop +deny-thief +Deny +WorkloadSelector$/m);
  const certificates = await shown('certificates', '--node', 'node-2');
  t.regex(certificates, /^spiffe:\S+\/sa\/web +Leaf +Available +true +[0-9a-f]+ .+ node-2$/m);
  t.regex(certificates, /^spiffe:\S+\/sa\/web +Root +Available +true /m);
  t.notRegex(certificates, /node-1/);
  const json = JSON.parse(await shown('certificates', '-o', 'json')) as Record<string, unknown[]>;
  t.deepEqual(Object.keys(json).sort(), ['node-1', 'node-2']);
});

test.serial(
  'halo status counts what was open at enrolment, and halo label --reset-open ends it',
  async (t) => {
    t.is((await halo('label', 'ns', 'shop', 'istio.io/dataplane-mode-')).code, 0);
    const held = hold();
    const closed = once(held, 'close');
    held.stdin.write('before\n');
    t.is(await nextText(held), 'before\n');

    t.is((await halo('label', 'ns', 'shop', 'istio.io/dataplane-mode=ambient')).code, 0);
    const counted = (await halo('status')).stdout;
    t.regex(counted, /^NAMESPACE +POD +.* +OPEN PLAIN$/m);
    t.regex(counted, /^shop +customer +.* 1$/m);
    t.regex(counted, /^shop +web +.* 1$/m);
    t.regex(counted, /^shop +visitor +.* 0$/m);
    held.stdin.write('after\n'); // it goes on as it was
    t.is(await nextText(held), 'after\n');

    t.is((await halo('label', 'ns', 'shop', 'mode=strict', '--reset-open')).code, 0);
    const [code] = (await closed) as [number];
    t.is(code, 1); // reset by the other side
    while (/OPEN PLAIN/.test((await halo('status')).stdout));
  },
);

test('halo ztunnel connections shows an open connection at both ends', async (t) => {
  const held = hold();
  const closed = once(held, 'close');
  held.stdin.write('hello\n');
  t.is(await nextText(held), 'hello\n');
  for (;;) {
    const { stdout } = await halo('ztunnel', 'connections');
    const out = /^customer\.shop +Outbound .+:15008 +10\.96\.\S+:9000 +HBONE +node-1$/m;
    const into = /^web\.shop +Inbound .+ HBONE +node-2$/m;
    if (out.test(stdout) && into.test(stdout)) break;
  }
  held.stdin.end();
  await closed;
});

test('halo explain names the policy that refuses, and ends with 1', async (t) => {
  const { code, stdout } = await halo('explain', 'shop/thief', 'web.shop:80');
  t.is(code, 1);
  t.regex(stdout, /^ {2}shop\/deny-thief +WORKLOAD_SELECTOR +DENY +rule 0 matches$/m);
  t.regex(stdout, /^Refused by the ztunnel of node-2: .*shop\/deny-thief/m);
});

test('halo explain tells both hops of an allowed connection, and ends with 0', async (t) => {
  const { code, stdout } = await halo('explain', 'shop/customer', 'web:80', '-o', 'json');
  t.is(code, 0);
  const { outbound, inbound } = JSON.parse(stdout) as {
    outbound: { outcome: { kind: string } };
    inbound: { outcome: { kind: string }; peer: { identity: string } };
  };
  t.is(outbound.outcome.kind, 'hbone');
  t.is(inbound.outcome.kind, 'admit');
  t.is(inbound.peer.identity, 'spiffe://cluster.local/ns/shop/sa/customer');
});

test('halo get shows what the control plane says of a policy', async (t) => {
  let table = '';
  // It writes status soon after the proxies have the policy.
  while (!/True/.test(table))
    table = (await halo('get', 'authorizationpolicies', '-n', 'shop')).stdout;
  t.regex(table, /^NAME +ACTION +RULES +ACCEPTED +AGE\ndeny-thief +DENY +1 +True +/);
  const { stdout } = await halo('get', 'ap', 'deny-thief', '-n', 'shop', '-o', 'yaml');
  t.regex(stdout, /^status:\n {2}conditions:\n {4}- type: ZtunnelAccepted\n {6}status: "True"$/m);
});

test('halo wait names the proxies that have not a revision, and ends with 4', async (t) => {
  const { code, stderr } = await halo('wait', '999999', '--timeout', '300ms');
  t.is(code, 4);
  t.regex(stderr, /without revision 999999: .*ztunnel-node-[12]\.istio-system has \d+/);
});

test('halo check finds nothing wrong with a mesh that is in order', async (t) => {
  const { code, stdout } = await halo('check');
  t.is(stdout, 'Nothing found\n');
  t.is(code, 0);
});

test('halo logs prints what a part of the mesh has written', async (t) => {
  const { stdout } = await halo('logs', '--part', 'ztunnel-node-1');
  t.regex(stdout, /"scope":"ztunnel","message":"ready"/);
  t.is((await halo('logs', '--part', 'nobody')).code, 1);
});

test.serial(
  'halo rollout restart replaces the ztunnel of a node, and others are left',
  async (t) => {
    const pids = async (): Promise<Map<string, number>> => {
      const { parts } = JSON.parse((await halo('status', '-o', 'json')).stdout) as {
        parts: { name: string; pid: number }[];
      };
      return new Map(parts.map(({ name, pid }) => [name, pid]));
    };
    const before = await pids();
    const { code, stdout, stderr } = await halo('rollout', 'restart', 'ztunnel', 'node-2');
    t.is(code, 0, stderr);
    t.regex(stdout, /^ztunnel-node-2 restarted/);
    const after = await pids();
    for (const [name, pid] of before)
      if (name === 'ztunnel-node-2') t.not(after.get(name), pid);
      else t.is(after.get(name), pid);
    const { stderr: refusal } = await halo('rollout', 'restart', 'ztunnel', 'node-7');
    t.regex(refusal, /Cannot restart ztunnel on node-7/);
  },
);

test.serial('when halo label returns, the very next connection is mutual, or is not', async (t) => {
  const inbound = async (): Promise<string[]> => {
    const { stdout } = await halo('logs', '--part', 'ztunnel-node-2');
    return stdout.split('\n').filter((line) => line.includes('"direction":"inbound"'));
  };
  const call = ['exec', 'shop/customer', '--', 'curl', '-s', '-m', '5', 'http://web.shop/'];
  for (let round = 0; round < 3; round++) {
    const out = await halo('label', 'ns', 'shop', 'istio.io/dataplane-mode-');
    t.is(out.code, 0, out.stderr);
    const before = await inbound();
    t.regex((await halo(...call)).stdout, /served-by: web/);
    t.deepEqual(await inbound(), before);

    const into = await halo('label', 'ns', 'shop', 'istio.io/dataplane-mode=ambient');
    t.is(into.code, 0, into.stderr);
    t.regex((await halo(...call)).stdout, /served-by: web/);
    let records = await inbound();
    while (records.length === before.length) records = await inbound(); // written at its end
    t.is(records.length, before.length + 1);
    t.regex(records.at(-1) ?? '', /"src.identity":"spiffe:\S+\/sa\/customer"/);
  }
});
