import { readFileSync } from 'node:fs';
import test from 'ava';
import { POD_SOCKETS } from '../../../mesh/zds/pod-sockets.ts';
import { useOwnState } from '../../support/own-state.ts';
import { adminPage, openSandbox, type TestSandbox } from '../support.ts';

useOwnState();

const SHOP = `
apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: web, namespace: shop }
---
apiVersion: v1
kind: Pod
metadata: { name: web, namespace: shop, labels: { app: web } }
spec:
  nodeName: node-2
  serviceAccountName: web
  containers: [{ name: c, image: halo/echo, readinessProbe: { httpGet: { port: 8080 }, periodSeconds: 1 } }]
---
apiVersion: v1
kind: Pod
metadata: { name: client, namespace: shop }
spec: { nodeName: node-1, containers: [{ name: c, image: halo/client }] }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { selector: { app: web }, ports: [{ port: 80, targetPort: 8080 }] }
`;

test('a labelled namespace talks over HBONE, through the loss of a proxy and of the control plane', async (t) => {
  const sandbox = await openSandbox(t, 'mesh', { mesh: true, dnsCapture: true });
  await sandbox.apply(SHOP);
  t.deepEqual(await sandbox.settled(), { done: true, unsettled: [] });
  const [client = ''] = await addressesOf(sandbox, 'client');
  const vip = await vipOf(sandbox);
  const call = async (): Promise<string> => {
    const command = ['curl', '-s', '-m', '10', `http://${vip}/`];
    return (await sandbox.exec({ namespace: 'shop', pod: 'client', command })).stdout;
  };
  // The source address is kept in either case.
  const answer = new RegExp(`served-by: web\ncalled-by: ${client.replaceAll('.', '\\.')}:`);
  t.regex(await call(), answer);
  t.deepEqual(accessLog(sandbox), []);

  await label(sandbox, 'ambient');
  t.true((await sandbox.settled()).done);
  // Until the client's proxy has heard of it, the server's takes plain text.
  const mutual = (): Record<string, unknown> | undefined =>
    accessLog(sandbox).find((record) => record['src.identity'] !== undefined);
  while (mutual() === undefined) t.regex(await call(), answer);
  t.like(mutual(), {
    'src.identity': 'spiffe://cluster.local/ns/shop/sa/default',
    'dst.identity': 'spiffe://cluster.local/ns/shop/sa/web',
    direction: 'inbound',
  });

  // Its proxy answers for the names of the mesh; the others' answer comes from the node's resolver, here: none.
  for (const name of ['web', 'web.shop', 'web.shop.svc', 'web.shop.svc.cluster.local'])
    t.is(await resolve(sandbox, name), vip);
  t.is(await resolve(sandbox, 'istiod.istio-system'), await vipOf(sandbox, 'istio-system/istiod'));
  t.is(await resolve(sandbox, 'nobody.shop'), '');
  const metrics = await adminPage(sandbox, 'ztunnel-node-1', '/metrics');
  t.regex(metrics, /^istio_dns_requests_total\{.*source_canonical_service="client".*\} [1-9]/m);

  await sandbox.post('/v1/parts', { name: 'ztunnel-node-1', action: 'kill' });
  t.regex(await call(), answer); // waits for the next one
  // An agent that was started anew is given the sockets again, so clients wait for the next proxy even then.
  await sandbox.post('/v1/parts', { name: 'node-agent-node-1', action: 'kill' });
  await untilListening(sandbox, 'node-agent-node-1');
  await sandbox.post('/v1/parts', { name: 'ztunnel-node-1', action: 'kill' });
  t.regex(await call(), answer);
  await sandbox.post('/v1/parts', { name: 'istiod-lite', action: 'stop' });
  t.regex(await call(), answer);
  await sandbox.post('/v1/parts', { name: 'istiod-lite', action: 'start' });
  t.true((await sandbox.settled()).done);

  await label(sandbox, null);
  t.true((await sandbox.settled()).done);
  const before = accessLog(sandbox).length;
  t.regex(await call(), answer);
  t.is(accessLog(sandbox).length, before);
});

/** Until an agent holds the sockets of all its pods. */
async function untilListening(sandbox: TestSandbox, agent: string): Promise<void> {
  for (;;) {
    const page = await adminPage(sandbox, agent, '/pods').catch(() => '{"pods": []}');
    const { pods } = JSON.parse(page) as { pods: { listeners: string[] }[] };
    if (pods.length > 0 && pods.every(({ listeners }) => listeners.length === POD_SOCKETS.size))
      return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function label(sandbox: TestSandbox, mode: string | null): Promise<void> {
  await sandbox.post('/v1/label', {
    object: { kind: 'Namespace', name: 'shop' },
    labels: { 'istio.io/dataplane-mode': mode },
  });
}

async function addressesOf(sandbox: TestSandbox, name: string): Promise<readonly string[]> {
  return (await sandbox.status()).pods.find((pod) => pod.name === name)?.addresses ?? [];
}

async function vipOf(sandbox: TestSandbox, service = 'shop/web'): Promise<string> {
  const [namespace = '', name = ''] = service.split('/');
  const { items } = await sandbox.get<{ items: { spec: { clusterIP: string } }[] }>(
    `/v1/objects?kind=Service&namespace=${namespace}&name=${name}`,
  );
  return items[0]?.spec.clusterIP ?? '';
}

/** The IPv4 address that a name has in the client's pod; '' where it has none. */
async function resolve(sandbox: TestSandbox, name: string): Promise<string> {
  const command = ['getent', 'ahostsv4', name];
  const { stdout } = await sandbox.exec({ namespace: 'shop', pod: 'client', command });
  return stdout.split(' ')[0] ?? '';
}

/** What the proxy of the server's node has logged of connections. */
function accessLog(sandbox: TestSandbox): Record<string, unknown>[] {
  const text = readFileSync(`${sandbox.paths.logs}/ztunnel-node-2.log`, 'utf8');
  return text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter((record) => record['scope'] === 'access');
}
