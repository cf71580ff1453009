import test from 'ava';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { OUTSIDE, startMesh } from '../support/mesh.ts';
import { policyYaml } from '../support/mesh-policies.ts';
import { forgingCa } from '../support/mesh-tunnels.ts';
import { namespaceYaml, podYaml } from '../support/mesh-yaml.ts';
import { HOLD_FILE, READY_FILE, type LateXdsTask } from '../support/late-xds-task.ts';
import { TemporaryFolder } from '../support/temporary-folder.ts';

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    podYaml('web', { node: 'node-2' }),
    podYaml('client', { node: 'node-1' }),
    podYaml('visitor', { node: 'node-1' }),
  ].join(''),
});

const PROGRAM = join(import.meta.dirname, '../support/late-xds-program.ts');
const ISTIOD = 'istiod.istio-system.svc';
/** OUTSIDE's address, and the control plane's. */
const [STAND_IN, CONTROL_PLANE] = ['172.18.0.3', '172.18.0.2'];
const EVENT_TIMEOUT_MS = 10_000;

const folder = new TemporaryFolder();
test.after.always(() => {
  folder[Symbol.dispose]();
});
const holdFile = join(folder.path, HOLD_FILE);

test.before('the ztunnel of the server gets its policies by way of us', async () => {
  const odd = { uris: [], dnsNames: [ISTIOD] };
  const task: LateXdsTask = {
    ...{ listen: `${STAND_IN}:15012`, upstream: `${CONTROL_PLANE}:15012`, serverName: ISTIOD },
    rootsPem: readFileSync(mesh.sandbox.paths.rootCertificate, 'utf8'),
    certificate: forgingCa(mesh).issue('spiffe://cluster.local/ns/istio-system/sa/istiod', odd),
    folder: folder.path,
  };
  const file = join(folder.path, 'task.json');
  writeFileSync(file, JSON.stringify(task));
  const command = [process.execPath, '--disable-warning=ExperimentalWarning', PROGRAM, file];
  void mesh.exec(OUTSIDE, command).catch(() => undefined); // it lasts as long as the mesh
  await until(() => existsSync(join(folder.path, READY_FILE)), 'the stand-in listens');

  const hosts = join(mesh.sandbox.paths.parts, 'ztunnel-node-2', 'hosts');
  writeFileSync(hosts, `127.0.0.1 localhost\n${STAND_IN} ${ISTIOD}\n`);
  await mesh.part('ztunnel-node-2', 'restart');
  await mesh.settled();
  await (await mesh.peer('web')).listen(80);
});

async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadlineMs = performance.now() + EVENT_TIMEOUT_MS;
  while (!(await condition())) {
    if (performance.now() > deadlineMs) throw new Error(`not in time: ${what}`);
    await delay(50);
  }
}

/** Applies a policy that web's workload names from then on, and that its ztunnel has not got. */
async function applyHeld(name: string, spec: object): Promise<void> {
  writeFileSync(holdFile, '');
  const text = policyYaml(name, { selector: { matchLabels: { app: 'web' } }, ...spec });
  const documents = [{ source: 'scenario.yaml', text }];
  await mesh.sandbox.post('/v1/apply', { documents });
  await until(async () => {
    const { workloads = [] } = (await mesh.page('node-2', '/config_dump')) as {
      workloads?: readonly { name?: string; authorizationPolicies?: readonly string[] }[];
    };
    const web = workloads.find((workload) => workload.name === 'web');
    return web?.authorizationPolicies?.includes(`shop/${name}`) === true;
  }, `the workload names shop/${name}`);
}

/** The policy arrives. */
function release(): void {
  rmSync(holdFile);
}

test.serial(
  'a connection waits for a policy that its server names, then goes or is refused',
  async (t) => {
    const web = await mesh.ip('web');
    const [client, visitor] = [await mesh.peer('client'), await mesh.peer('visitor')];
    const mark = mesh.mark();
    const old = await visitor.connect(web, 80);
    t.true(await old.echo('before'));
    await applyHeld('clients', {
      action: 'ALLOW',
      rules: [{ from: [{ source: { principals: ['*/sa/client'] } }] }],
    });

    const asked = [client.say(web, 80, 'let me in'), visitor.say(web, 80, 'let me in')];
    const first = await Promise.race([...asked, delay(1000, 'nobody was answered')]);
    t.is(first, 'nobody was answered');
    t.is(mesh.recordsSince(mark).length, 0);
    t.true(
      await old.echo('meanwhile'),
      'what is open is not closed for a policy that nobody knows',
    );
    release();

    const [allowed, refused] = await Promise.all(asked);
    t.like(allowed, { text: 'let me in', ended: 'end' });
    t.like(refused, { text: '', ended: 'ECONNRESET' });
    const pattern = { direction: 'inbound', 'src.workload': 'visitor' };
    for (const record of await mesh.records(pattern, mark, 2))
      t.regex(record.error ?? '', /allow policies exist, but none allowed/);
    t.is((await old.ended()).how, 'ECONNRESET');
    await mesh.settled();
    await mesh.delete('AuthorizationPolicy', 'clients');
  },
);

test.serial('a connection whose policy does not come within 5 s is refused', async (t) => {
  const web = await mesh.ip('web');
  const client = await mesh.peer('client');
  t.like(await client.say(web, 80, 'before'), { text: 'before', ended: 'end' });
  await applyHeld('never', { action: 'DENY', rules: [{ to: [{ operation: { ports: ['1'] } }] }] });
  const mark = mesh.mark();
  const startedMs = performance.now();

  t.like(await client.say(web, 80, 'let me in'), { text: '', ended: 'ECONNRESET' });

  t.true(performance.now() - startedMs > 4900);
  const record = await mesh.record({ direction: 'inbound', 'src.workload': 'client' }, mark);
  t.regex(record.error ?? '', /policies have not arrived within 5000 ms: shop\/never/);
  release();
  await mesh.settled();
  t.like(await client.say(web, 80, 'now'), { text: 'now', ended: 'end' });
  await mesh.delete('AuthorizationPolicy', 'never');
});
