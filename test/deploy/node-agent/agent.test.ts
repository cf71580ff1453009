import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { partAdminSocket, type WaitResult } from '../../../deploy/sandbox/api.ts';
import { fetchAdmin } from '../../../mesh/admin/client.ts';
import { HEADROOM } from '../../../net/byte-stream.ts';
import { ListenerClient } from '../../../mesh/zds/listeners.ts';
import type { PodSocketName } from '../../../mesh/zds/pod-sockets.ts';
import { ZdsClient } from '../../../mesh/zds/client.ts';
import { allocateShared } from '../../../net/native/memory.ts';
import { TcpListener } from '../../../net/tcp-listener.ts';
import { useOwnState } from '../../support/own-state.ts';
import { openSandbox, type TestSandbox } from '../support.ts';

useOwnState();

const PODS = ['server', 'client'];
const OPEN_PLAIN = 'halo.dev/open-plain-connections';

/** Only agents run beside the network: the test is the proxy. */
const agentsAlone = { mesh: true, onlyParts: ['node-agent'], nodes: 1 } as const;

const shop = (labels: string): string => `
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { ${labels} } }
---
apiVersion: v1
kind: Pod
metadata: { name: server, namespace: shop, labels: { app: server } }
spec:
  nodeName: node-1
  containers:
    - { name: server, image: halo/echo, args: [--greeting, hello], readinessProbe: { httpGet: { port: 8080 }, periodSeconds: 1 } }
---
apiVersion: v1
kind: Pod
metadata: { name: client, namespace: shop }
spec:
  nodeName: node-1
  containers: [{ name: client, image: halo/client }]
---
apiVersion: v1
kind: Service
metadata: { name: server, namespace: shop }
spec: { selector: { app: server }, ports: [{ port: 80, targetPort: 8080 }] }
`;

/** A proxy that answers every captured connection with where it was to go, and serves nothing else. */
class ScriptedProxy {
  readonly pods = new Map<string, string>();
  /** Resolves when the last pod has been taken away. */
  readonly empty: Promise<void>;
  readonly #client: ZdsClient;
  readonly #listeners: ListenerClient;
  readonly #open = new Map<string, TcpListener[]>();
  #closed = false;

  /** @param take whether a pod is taken; by default each is, at once. */
  constructor(sandbox: TestSandbox, take: () => Promise<void> = () => Promise.resolve()) {
    const emptied = Promise.withResolvers<undefined>();
    this.empty = emptied.promise;
    const folder = join(sandbox.paths.nodes, 'node-1');
    this.#listeners = new ListenerClient(join(folder, 'listeners.sock'));
    this.#client = new ZdsClient({
      path: join(folder, 'ztunnel.sock'),
      handler: {
        add: async (uid, info, netns) => {
          netns.close();
          await take();
          this.pods.set(uid, info.name);
          await this.#serve(uid, 'outbound', 15001);
          await this.#serve(uid, 'plaintext', 15006);
        },
        remove: (uid) => {
          this.pods.delete(uid);
          if (this.pods.size === 0) emptied.resolve(undefined);
          for (const listener of this.#open.get(uid) ?? []) listener.close();
          this.#open.delete(uid);
          return Promise.resolve();
        },
      },
      onReady: () => undefined,
      onProtocolError: () => undefined,
      log: () => undefined,
    });
  }

  close(): void {
    this.#closed = true;
    this.#client.close();
    this.#listeners.close();
    for (const listener of [...this.#open.values()].flat()) listener.close();
  }

  async #serve(uid: string, name: PodSocketName, port: number): Promise<void> {
    const listener = new TcpListener(await this.#listeners.request(uid, name), {}, (stream) => {
      const to = stream.originalDestination();
      const line = Buffer.from(`${port} for ${to.ip} ${to.port} from ${stream.peer.ip}\n`);
      const bytes = allocateShared(HEADROOM + line.length);
      bytes.buffer.set(line, HEADROOM);
      stream.write(bytes, HEADROOM, line.length);
      stream.end();
    });
    this.#open.set(uid, [...(this.#open.get(uid) ?? []), listener]);
    if (this.#closed) listener.close();
  }
}

async function openMesh(t: ExecutionContext, name: string): Promise<TestSandbox> {
  return openSandbox(t, name, agentsAlone);
}

function runInClient(sandbox: TestSandbox, script: string): Promise<string> {
  return runInPod(sandbox, 'client', script);
}

async function runInPod(sandbox: TestSandbox, pod: string, script: string): Promise<string> {
  const query = { namespace: 'shop', pod, command: ['sh', '-c', script] };
  return (await sandbox.exec(query)).stdout;
}

function untilRedirection(
  sandbox: TestSandbox,
  pod: string,
  wanted: string | undefined,
): Promise<void> {
  return untilAnnotation(sandbox, pod, 'ambient.istio.io/redirection', wanted);
}

/** Waits until a pod shows an annotation's value. */
async function untilAnnotation(
  sandbox: TestSandbox,
  pod: string,
  name: string,
  wanted: string | undefined,
): Promise<void> {
  for (;;) {
    const { items } = await sandbox.get<{
      items: { metadata: { annotations: Record<string, string> } }[];
    }>(`/v1/objects?kind=Pod&namespace=shop&name=${pod}`);
    if (items[0]?.metadata.annotations[name] === wanted) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test.serial('pods are enrolled and released live, and what is open stays open', async (t) => {
  const sandbox = await openMesh(t, 'agent');
  await sandbox.apply(shop(''));
  for (const pod of ['server', 'client']) await untilRunning(sandbox, pod);
  const server = await addressOf(sandbox, 'server');

  // An open connection that says something before and after.
  const long = sandbox.exec({
    namespace: 'shop',
    pod: 'client',
    command: [
      ...['bash', '-c'],
      `exec 3<>/dev/tcp/${server}/9000; read -u 3 line; echo "$line"; while [ ! -e /tmp/halo-agent-go ]; do sleep 0.05; done; echo more >&3; read -u 3 line; echo "$line"`,
    ],
  });
  t.teardown(() => runInClient(sandbox, 'rm -f /tmp/halo-agent-go').catch(() => undefined));
  t.regex(await runInClient(sandbox, `curl -s ${server}:8080`), /called-by: 10\.244\.16\.\d+:/);

  const opened = 'until ss -Htn state established | grep -q :9000; do sleep 0.02; done';
  await runInClient(sandbox, opened);

  // Labelled without a proxy: pending, and new connections wait instead of going out in plain text.
  await label(sandbox, 'ambient');
  await untilRedirection(sandbox, 'client', 'pending');
  t.is(await runInClient(sandbox, `curl -sm 0.3 ${server}:8080; echo $?`), '28\n');
  t.is(await runInClient(sandbox, 'curl -sm 1 127.0.0.1:1; echo $?'), '7\n');

  const waiting = await sandbox.get<WaitResult>('/v1/wait?for=enrolled&timeoutMs=50');
  t.false(waiting.done);
  t.true(waiting.unsettled.includes('Pod shop/client is not enrolled yet'));

  const enrolled = sandbox.get<WaitResult>('/v1/wait?for=enrolled&timeoutMs=20000');
  const proxy = new ScriptedProxy(sandbox);
  t.teardown(() => {
    proxy.close();
  });
  t.deepEqual(await enrolled, { done: true, unsettled: [] });
  await untilRedirection(sandbox, 'client', 'enabled');
  await untilRedirection(sandbox, 'server', 'enabled');
  t.deepEqual([...proxy.pods.values()].sort(), ['client', 'server']);
  t.is(
    await runInClient(sandbox, `curl -s --http0.9 ${server}:8080`),
    `15001 for ${server} 8080 from ${await addressOf(sandbox, 'client')}\n`,
  );
  const vip = await vipOf(sandbox);
  t.regex(
    await runInClient(sandbox, `curl -s --http0.9 ${vip}`),
    new RegExp(`^15001 for ${vip.replaceAll('.', '\\.')} 80`),
  );
  // The readiness probe is never captured.
  t.true((await sandbox.status()).pods.find((pod) => pod.name === 'server')?.ready);
  // The open connection is counted, and works.
  const { pods } = await sandbox.status();
  t.is(pods.find((pod) => pod.name === 'client')?.openPlainConnections, 1);
  await sandbox.exec({ outside: true, command: ['touch', '/tmp/halo-agent-go'] });
  t.deepEqual((await long).stdout.split('\n').slice(1), ['more', '']);

  // Captured for the outside too: plain text that comes in goes to 15006.
  const outside = await sandbox.exec({
    outside: true,
    command: ['curl', '-s', '--http0.9', `${server}:8080`],
  });
  t.is(outside.stdout, `15006 for ${server} 8080 from 172.18.0.3\n`);

  await label(sandbox, null);
  await untilRedirection(sandbox, 'client', undefined);
  await untilRedirection(sandbox, 'server', undefined);
  t.regex(await runInClient(sandbox, `curl -s ${server}:8080`), /called-by: 10\.244\.16\.\d+:/);
  await proxy.empty;
  t.pass();
});

test.serial(
  'a pod that is released before a proxy has answered is out, whatever the answer is',
  async (t) => {
    const sandbox = await openMesh(t, 'agent3');
    await sandbox.apply(shop(''));
    for (const name of PODS) {
      await untilRunning(sandbox, name);
      // It goes with what is said of a pod that is released, so that this can be seen.
      const object = { kind: 'Pod', namespace: 'shop', name };
      await sandbox.post('/v1/label', { object, annotations: { [OPEN_PLAIN]: '1' } });
    }
    const [given, answer] = [Promise.withResolvers<undefined>(), Promise.withResolvers<never>()];
    const proxy = new ScriptedProxy(sandbox, () => {
      given.resolve(undefined);
      return answer.promise;
    });
    t.teardown(() => {
      proxy.close();
    });
    await label(sandbox, 'ambient');
    await given.promise;
    await label(sandbox, null);
    for (const pod of PODS) await untilAnnotation(sandbox, pod, OPEN_PLAIN, undefined);
    answer.reject(new Error('too late'));
    await untilReleased(sandbox);
    const out = await sandbox.get<WaitResult>('/v1/wait?for=enrolled&timeoutMs=5000');
    t.deepEqual(out, { done: true, unsettled: [] });
    const server = await addressOf(sandbox, 'server');
    t.regex(await runInClient(sandbox, `curl -s ${server}:8080`), /called-by: 10\.244\.16\.\d+:/);
  },
);

test.serial(
  'a pod of a labelled namespace starts captured, and an agent killed finds all again',
  async (t) => {
    const sandbox = await openMesh(t, 'agent2');
    let proxy = new ScriptedProxy(sandbox);
    t.teardown(() => {
      proxy.close();
    });
    await sandbox.apply(shop('istio.io/dataplane-mode: ambient'));
    await untilRunning(sandbox, 'client');
    const server = await addressOf(sandbox, 'server');
    const captured = (): Promise<string> =>
      runInClient(sandbox, `curl -s --http0.9 ${server}:8080`);
    t.regex(await captured(), /^15001 for/);

    await sandbox.post('/v1/parts', { name: 'node-agent-node-1', action: 'kill' });
    t.regex(await captured(), /^15001 for/); // without an agent
    await partReady(sandbox, 'node-agent-node-1');
    t.regex(await captured(), /^15001 for/); // with another one
    const path = partAdminSocket(sandbox.paths, 'node-agent-node-1');
    const { body } = await fetchAdmin({ kind: 'unix', path }, '/metrics');
    t.regex(body, /^halo_event_loop_blocks_total\{thread="control"\} \d/m);

    // The proxy ends, and with it sockets that this agent does not have: clients are refused until another one comes.
    proxy.close();
    proxy = new ScriptedProxy(sandbox);
    let answer = '';
    while (answer === '') answer = await captured();
    t.regex(answer, /^15001 for/);

    // Now the sockets are the agent's own. The pod that somebody waits in is the first to be handed over.
    for (const pod of ['client', 'server']) {
      proxy.close();
      const first = runInPod(sandbox, pod, 'curl -s --http0.9 192.0.2.1:8080');
      const queued = "ss -Htln 'sport = :15001' | awk '{ found += $2 } END { exit !found }'";
      await runInPod(sandbox, pod, `until ${queued}; do sleep 0.02; done`);
      proxy = new ScriptedProxy(sandbox);
      t.regex(await first, /^15001 for/);
      t.is([...proxy.pods.values()][0], pod);
    }

    await sandbox.post('/v1/delete', {
      objects: [{ kind: 'Pod', namespace: 'shop', name: 'client' }],
    });
    while ((await sandbox.status()).pods.some((pod) => pod.name === 'client'))
      await new Promise((resolve) => setTimeout(resolve, 20));
    t.deepEqual([...proxy.pods.values()], ['server']);
  },
);

async function label(sandbox: TestSandbox, mode: string | null): Promise<void> {
  await sandbox.post('/v1/label', {
    object: { kind: 'Namespace', name: 'shop' },
    labels: { 'istio.io/dataplane-mode': mode },
  });
}

/** Until the agent has nothing captured. */
async function untilReleased(sandbox: TestSandbox): Promise<void> {
  const path = partAdminSocket(sandbox.paths, 'node-agent-node-1');
  for (;;) {
    const { body } = await fetchAdmin({ kind: 'unix', path }, '/pods');
    if (!body.includes('"state"')) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function untilRunning(sandbox: TestSandbox, name: string): Promise<void> {
  for (;;) {
    const pod = (await sandbox.status()).pods.find((known) => known.name === name);
    if (pod?.ready === true) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function partReady(sandbox: TestSandbox, name: string): Promise<void> {
  for (;;) {
    const part = (await sandbox.status()).parts.find((known) => known.name === name);
    if (part?.state === 'ready') return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function addressOf(sandbox: TestSandbox, name: string): Promise<string> {
  const pod = (await sandbox.status()).pods.find((known) => known.name === name);
  return pod?.addresses[0] ?? '';
}

async function vipOf(sandbox: TestSandbox): Promise<string> {
  const { items } = await sandbox.get<{ items: { spec: { clusterIP: string } }[] }>(
    '/v1/objects?kind=Service&namespace=shop&name=server',
  );
  return items[0]?.spec.clusterIP ?? '';
}
