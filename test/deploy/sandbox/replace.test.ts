import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'ava';
import type { PartStatus } from '../../../deploy/sandbox/api.ts';
import { useOwnState } from '../../support/own-state.ts';
import { adminPage, ExecProgram, openSandbox, type TestSandbox } from '../support.ts';

useOwnState();

const LOAD = [
  process.execPath,
  '--disable-warning=ExperimentalWarning',
  join(import.meta.dirname, 'load-program.ts'),
];

const SHOP = `
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { istio.io/dataplane-mode: ambient } }
---
apiVersion: v1
kind: Pod
metadata: { name: web, namespace: shop, labels: { app: web } }
spec:
  nodeName: node-2
  containers: [{ name: c, image: halo/echo, readinessProbe: { tcpSocket: { port: 9000 }, periodSeconds: 1 } }]
---
apiVersion: v1
kind: Pod
metadata: { name: client, namespace: shop }
spec: { nodeName: node-1, containers: [{ name: c, image: halo/client }] }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { selector: { app: web }, ports: [{ port: 9000 }] }
`;

type Load = Readonly<{ opened: number; rounds: number; failures: readonly string[] }>;

test('a ztunnel is replaced under load: no new connection fails, and open ones live on', async (t) => {
  const sandbox = await openSandbox(t, 'replace', { mesh: true, dnsCapture: true });
  await sandbox.apply(SHOP);
  t.deepEqual(await sandbox.settled(), { done: true, unsettled: [] });
  const place = { namespace: 'shop', pod: 'client' };
  const load = await ExecProgram.start(sandbox, {
    ...place,
    command: [...LOAD, 'web', '9000', '20'],
  });
  const next = async (): Promise<Load> => JSON.parse(await load.nextLine()) as Load;
  await next();
  for (const node of ['node-1', 'node-2']) {
    const name = `ztunnel-${node}`;
    const before = await partOf(sandbox, name);
    const after = await sandbox.post<PartStatus>('/v1/parts', { name, action: 'replace' });
    t.not(after.pid, before.pid);
    t.like(after, { state: 'ready', restarts: 0, draining: 1 });
    await next();
    await next();
  }
  load.endInput();
  const { opened, rounds, failures } = await load.last<Load>();
  t.deepEqual(failures, []);
  t.true(opened > 60, `${opened} new connections`);
  t.true(rounds > 400, `${rounds} rounds on the long ones`);
  // With their last connection the old ones end.
  for (const name of ['ztunnel-node-1', 'ztunnel-node-2'])
    while ((await partOf(sandbox, name)).draining !== undefined)
      await new Promise((resolve) => setTimeout(resolve, 50));
});

test('a ztunnel whose successor never gets ready keeps its admin socket, and goes on', async (t) => {
  const sandbox = await openSandbox(t, 'unready', { mesh: true, nodes: 1 });
  await sandbox.settled();
  const name = 'ztunnel-node-1';
  const { pid, adminSocket } = await partOf(sandbox, name);
  await sandbox.post('/v1/parts', { name: 'istiod-lite', action: 'stop' }); // no configuration for a new one
  const replacing = sandbox.post('/v1/parts', { name, action: 'replace' });
  const failed = t.throwsAsync(replacing, {
    message: /Cannot replace ztunnel-node-1: ended by SIGKILL/,
  });
  let successor: string | undefined;
  for (;;) {
    const found = readdirSync(dirname(adminSocket)).find((file) => /^\.\d+$/.test(file));
    successor = found?.slice(1);
    if (successor !== undefined) break;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  t.not(successor, String(pid));
  t.is(await adminPage(sandbox, name, '/healthz/ready'), 'ready\n');
  await sandbox.exec({ outside: true, command: ['kill', '-KILL', successor] });
  await failed;
  t.is(await adminPage(sandbox, name, '/healthz/ready'), 'ready\n');
  t.is((await partOf(sandbox, name)).pid, pid);
});

test('what cannot be replaced is left as it is', async (t) => {
  const sandbox = await openSandbox(t, 'noreplace', { nodes: 1 });
  const { pid } = await partOf(sandbox, 'cluster-dns');
  const asked = sandbox.post('/v1/parts', { name: 'cluster-dns', action: 'replace' });
  await t.throwsAsync(asked, {
    message: /Cannot replace cluster-dns: it shares its ports with no/,
  });
  t.is((await partOf(sandbox, 'cluster-dns')).pid, pid);
});

async function partOf(sandbox: TestSandbox, name: string): Promise<PartStatus> {
  for (;;) {
    const part = (await sandbox.status()).parts.find((known) => known.name === name);
    if (part?.state === 'ready') return part;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
