import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { OUTSIDE, startMesh } from '../support/mesh.ts';
import { policyYaml } from '../support/mesh-policies.ts';
import { namespaceYaml, podYaml } from '../support/mesh-yaml.ts';

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    namespaceYaml('plain', {}),
    podYaml('client', { node: 'node-1' }),
    podYaml('web', { node: 'node-2' }),
    podYaml('stranger', { namespace: 'plain', node: 'node-1' }),
  ].join(''),
});

const ECHO = 9000;
const STOPPED_MS = 3_000;
/** The sandbox's control plane and its two nodes. */
const [CONTROL_PLANE, NODES] = ['172.18.0.1', ['172.18.0.11', '172.18.0.12']];

let webIp = '';
test.serial.before('the server listens', async () => {
  await (await mesh.peer('web')).listen(ECHO);
  webIp = await mesh.ip('web');
});

/** What a page answers to a caller there: its status, or `000` where nobody listens. */
async function status(where: string, url: string): Promise<string> {
  const format = '%{http_code}';
  const { stdout } = await mesh.exec(where, [
    ...['curl', '-s', '-o', '/dev/null', '-m', '3', '-w', format, url],
  ]);
  return stdout;
}

test.serial('C4: nobody but the node itself reaches a page that shows configuration', async (t) => {
  const pages = [
    ...[CONTROL_PLANE, ...NODES].flatMap((host) => [
      `http://${host}:15000/config_dump`,
      `http://${host}:15020/config_dump`,
      `http://${host}:15021/config_dump`,
      `http://${host}:15000/quitquitquit`,
      `http://${host}:15014/debug/snapshotz`,
      `http://${host}:15014/debug/ca`,
      `http://${host}:8080/debug/snapshotz`,
      `http://${host}:8080/debug/ca/rotate`,
    ]),
    'http://127.0.0.1:15000/config_dump',
    'http://127.0.0.1:15014/debug/snapshotz',
  ];
  for (const where of ['client', 'plain/stranger', OUTSIDE]) {
    const answers = await Promise.all(pages.map((url) => status(where, url)));
    for (const [index, answer] of answers.entries())
      t.true(['000', '404'].includes(answer), `${where} got ${answer} of ${pages[index] ?? ''}`);
  }
  // These may be read by whoever measures or probes.
  for (const host of NODES) {
    t.is(await status(OUTSIDE, `http://${host}:15021/healthz/ready`), '200');
    t.is(await status(OUTSIDE, `http://${host}:15020/metrics`), '200');
  }
});

/** The processes of this sandbox with such a command line and that variable. */
function pidsOf(command: RegExp, variable?: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
        return (
          command.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8')) &&
          (variable === undefined || environment.includes(variable)) &&
          environment.some((entry) => entry.includes(mesh.sandbox.paths.root))
        );
      } catch {
        return false; // it has ended meanwhile
      }
    })
    .map(Number);
}

test.serial('R6: proxies stopped for 3 s lose, repeat and reorder nothing', async (t) => {
  t.timeout(60_000);
  const client = await mesh.peer('client');
  const connection = await client.connect(webIp, ECHO);
  t.true(await connection.echo('before'));
  for (const node of ['node-1', 'node-2']) {
    const pids = pidsOf(/ztunnel\/main/, `NODE_NAME=${node}`);
    t.is(pids.length, 1, `${node}: ${pids.join()}`);
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    const text = randomBytes(8 << 10).toString('hex');
    await connection.write(text);
    await delay(STOPPED_MS);
    for (const pid of pids) process.kill(pid, 'SIGCONT');
    const begin = performance.now();
    const { text: answer } = await connection.read(text.length);
    t.true(performance.now() - begin < 1_000, 'recovered within a second');
    const digest = (part: string): string => createHash('sha256').update(part).digest('hex');
    t.is(digest(answer), digest(text));
  }
  t.true(await connection.echo('after'));
  await connection.end();
  t.is((await connection.ended()).how, 'end');
});

test.serial(
  'R6: while the control plane is stopped the data plane goes on, and a change comes after',
  async (t) => {
    t.timeout(60_000);
    const client = await mesh.peer('client');
    const pids = pidsOf(/istiod-lite\/main/);
    t.is(pids.length, 1);
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    const open = await client.connect(webIp, ECHO);
    t.true(await open.echo('without a control plane'));
    await delay(STOPPED_MS);
    const later = await client.connect(webIp, ECHO);
    t.true(await later.echo('still'));
    for (const pid of pids) process.kill(pid, 'SIGCONT');
    // A8: what it says next cuts both.
    const source = { principals: ['*/sa/client'] };
    const begin = performance.now();
    await mesh.apply(policyYaml('no-client', { action: 'DENY', rules: [{ from: [{ source }] }] }));
    const ends = await Promise.all([open.ended(), later.ended()]);
    t.deepEqual(
      ends.map(({ how }) => how),
      ['ECONNRESET', 'ECONNRESET'],
    );
    t.log(`cut ${Math.round(performance.now() - begin)} ms after it was written`);
  },
);
