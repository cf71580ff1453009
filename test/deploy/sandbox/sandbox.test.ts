import { existsSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { BYTES_PROTOCOL, type ObjectList, type WaitResult } from '../../../deploy/sandbox/api.ts';
import { runningSupervisor, startSandbox, stopSandbox } from '../../../deploy/sandbox/launch.ts';
import { congestionControl } from '../../../deploy/sandbox/networks.ts';
import { useOwnState } from '../../support/own-state.ts';
import {
  connectTo,
  describeHost,
  openSandbox,
  processesWith,
  settingsFor,
  type TestSandbox,
} from '../support.ts';
import { TemporaryFolder } from '../../support/temporary-folder.ts';

useOwnState();

const CONGESTION_CONTROL = '/proc/sys/net/ipv4/tcp_congestion_control';

const SHOP = `
apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: shop }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      containers:
        - name: web
          image: halo/echo
          env:
            - { name: POD_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
          ports: [{ name: http, containerPort: 8080 }]
          readinessProbe: { httpGet: { path: /, port: http }, periodSeconds: 1 }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec:
  ipFamilyPolicy: PreferDualStack
  selector: { app: web }
  ports: [{ name: http, port: 80, targetPort: http }]
---
apiVersion: v1
kind: Pod
metadata: { name: client, namespace: shop }
spec:
  initContainers: [{ name: first, command: [sh, -c, 'echo first from $HOSTNAME'] }]
  containers: [{ name: client, image: 'halo/client:1.0' }]
`;

async function curl(sandbox: TestSandbox, ...args: string[]): Promise<string> {
  const command = ['curl', '-s', '-m', '3', ...args];
  return (await sandbox.exec({ namespace: 'shop', pod: 'client', command })).stdout;
}

async function podNames(sandbox: TestSandbox, prefix: string): Promise<string[]> {
  const { pods } = await sandbox.status();
  return pods
    .map((pod) => pod.name)
    .filter((name) => name.startsWith(prefix))
    .sort();
}

test.serial('pods reach Services by name, over both families, at every ready pod', async (t) => {
  const sandbox = await openSandbox(t, 'reach');
  await sandbox.apply(SHOP);
  t.deepEqual(await sandbox.settled(), { done: true, unsettled: [] });
  const served = new Set<string>();
  for (let tries = 0; tries < 40 && served.size < 2; tries++) {
    const answer = await curl(sandbox, 'http://web/');
    served.add(/served-by: (\S+)/.exec(answer)?.[1] ?? answer);
  }
  t.deepEqual([...served].sort(), await podNames(sandbox, 'web-'));
  t.regex(await curl(sandbox, '-6', 'http://web.shop/'), /called-by: \[fd00:10:244:/);
  // Linux's own, where the host's kernel allows it.
  const tcp = { namespace: 'shop', pod: 'client', command: ['cat', CONGESTION_CONTROL] };
  t.is((await sandbox.exec(tcp)).stdout, `${congestionControl()}\n`);
  // Its own log, and that of its init container.
  t.is(await logs(sandbox, 'container=first&tail=1'), 'first from client\n');

  await sandbox.post('/v1/scale', { namespace: 'shop', name: 'web', replicas: 0 });
  await sandbox.settled();
  t.is(
    (
      await sandbox.exec({
        namespace: 'shop',
        pod: 'client',
        command: ['curl', '-sm3', 'http://web/'],
      })
    ).code,
    7,
  );
  await sandbox.post('/v1/scale', { namespace: 'shop', name: 'web', replicas: 1 });
  t.true((await sandbox.settled()).done);
  t.regex(await curl(sandbox, 'http://web/'), /served-by: web-/);
});

test.serial('who waits while the controllers are at work is told when they are done', async (t) => {
  const sandbox = await openSandbox(t, 'waiting');
  await sandbox.settled();
  const timeoutMs = 10_000;
  for (let round = 0; round < 100; round++) {
    const name = `shop-${round}`;
    const applied = sandbox.apply(
      JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } }),
    );
    const startedMs = performance.now();
    const { done } = await sandbox.get<WaitResult>(`/v1/wait?for=settled&timeoutMs=${timeoutMs}`);
    t.true(done && performance.now() - startedMs < timeoutMs, `round ${round}`);
    await applied;
  }
});

test.serial('a rollout replaces every pod and serves all the while', async (t) => {
  const sandbox = await openSandbox(t, 'rollout');
  await sandbox.apply(SHOP);
  await sandbox.settled();
  const before = await podNames(sandbox, 'web-');
  await sandbox.post('/v1/restart', { namespace: 'shop', name: 'web' });
  const asking = (async (): Promise<number> => {
    let failures = 0;
    for (let count = 0; count < 20; count++)
      if (!(await curl(sandbox, '--retry', '0', 'http://web/')).includes('served-by')) failures++;
    return failures;
  })();
  t.true((await sandbox.settled()).done);
  const after = await podNames(sandbox, 'web-');
  t.is(after.length, 2);
  t.false(after.some((name) => before.includes(name)));
  t.is(await asking, 0);
});

test.serial(
  'port-forward reaches a pod behind a service, exec hands input and exit code on',
  async (t) => {
    const sandbox = await openSandbox(t, 'forward');
    await sandbox.apply(SHOP);
    await sandbox.settled();
    const socket = await connectThrough(sandbox, 'namespace=shop&service=web&port=80');
    socket.write('GET / HTTP/1.0\r\n\r\n');
    let answer = '';
    for await (const chunk of socket.setEncoding('utf8') as AsyncIterable<string>) answer += chunk;
    t.regex(answer, /served-by: web-/);
    const query = {
      namespace: 'shop',
      pod: 'client',
      command: ['sh', '-c', 'cat; echo oops >&2; exit 9'],
    };
    const ended = await sandbox.exec(query, 'some input');
    t.like(ended, { stdout: 'some input', stderr: 'oops\n', code: 9 });
    const nobody = sandbox.exec({ namespace: 'shop', pod: 'nobody', command: ['true'] });
    await t.throwsAsync(nobody, { message: /Cannot find Pod shop\/nobody/ });
  },
);

test.serial(
  'a container does what it wanted to before its end, and is told to end after that',
  async (t) => {
    const sandbox = await openSandbox(t, 'hooks', { nodes: 1 });
    using folder = new TemporaryFolder();
    const file = join(folder.path, 'ends');
    const write = (what: string): string => `echo ${what} >> ${file}`;
    const hooks = {
      exec: { exec: { command: ['sh', '-c', `sleep 0.3; ${write('hook')}`] } },
      sleep: { sleep: { seconds: 1 } },
      missing: { exec: { command: ['there-is-no-such-command'] } },
    };
    const pods = Object.entries(hooks).map(([name, preStop]) => {
      const command = [
        'sh',
        '-c',
        `trap '${write(`told-${name}`)}; exit' TERM; while :; do sleep 0.05; done`,
      ];
      const metadata = { name, namespace: 'hooks' };
      const containers = [{ name: 'c', command, lifecycle: { preStop } }];
      return JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata, spec: { containers } });
    });
    const namespace = '{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"hooks"}}';
    await sandbox.apply([namespace, ...pods].join('\n---\n'));
    await sandbox.settled();
    const objects = Object.keys(hooks).map((name) => ({ kind: 'Pod', namespace: 'hooks', name }));
    await sandbox.post('/v1/delete', { objects });
    await sandbox.settled();
    t.deepEqual(readFileSync(file, 'utf8').split('\n'), [
      ...['told-missing', 'hook', 'told-exec', 'told-sleep', ''],
    ]);
  },
);

test.serial('a container that is killed begins anew, and nobody is asked', async (t) => {
  const sandbox = await openSandbox(t, 'kill', { nodes: 1 });
  await sandbox.apply(SHOP);
  await sandbox.settled();
  const [pod = ''] = await podNames(sandbox, 'web-');
  await sandbox.post('/v1/kill', { namespace: 'shop', pod });
  const restarted = async (): Promise<unknown> =>
    (await sandbox.status()).pods.find(({ name }) => name === pod)?.restarts;
  while ((await restarted()) !== 1) await delay(50);
  t.true((await sandbox.settled()).done);
  const nobody = sandbox.post('/v1/kill', { namespace: 'shop', pod: 'nobody' });
  await t.throwsAsync(nobody, { message: /no such pod/ });
});

test.serial('what cannot run says why, and a container that ends is started again', async (t) => {
  const sandbox = await openSandbox(t, 'faults', { nodes: 1 });
  await t.throwsAsync(
    sandbox.apply(
      SHOP.replace(
        'kind: Namespace\nmetadata: { name: shop }',
        'kind: Namespace\nmetadata: { name: other }',
      ),
    ),
    {
      message: /there is no namespace shop/,
    },
  );
  await t.throwsAsync(
    sandbox.apply(`
apiVersion: v1
kind: Namespace
metadata: { name: never }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: wrong, namespace: default }
spec: { action: DENY, rules: [{ from: [{ source: { principal: [thief] } }] }] }
`),
    { message: /test\.yaml:9:.* spec\.rules\[0\]\.from\[0\]\.source\.principal/ },
  );
  t.is((await sandbox.get<ObjectList>('/v1/objects?kind=Namespace&name=never')).items.length, 0);
  for (const request of [{}, { documents: [{ source: 'x' }] }, { documents: [], namespace: 7 }])
    await t.throwsAsync(sandbox.post('/v1/apply', request), { message: /400 .*Cannot apply/ });
  await sandbox.apply(`
apiVersion: v1
kind: Pod
metadata: { name: unknown }
spec: { restartPolicy: Never, containers: [{ name: c, image: nobody/knows }] }
---
apiVersion: v1
kind: Pod
metadata: { name: job }
spec: { restartPolicy: Never, containers: [{ name: c, command: [sh, -c, 'echo done'] }] }
---
apiVersion: v1
kind: Pod
metadata: { name: crash }
spec: { containers: [{ name: c, command: [sh, -c, 'sleep 0.1; exit 3'] }] }
`);
  const find = async (name: string) =>
    (await sandbox.status()).pods.find((pod) => pod.name === name);
  const until = async (name: string, phase: string): Promise<void> => {
    while ((await find(name))?.phase !== phase)
      await new Promise((resolve) => setTimeout(resolve, 20));
  };
  await until('job', 'Succeeded');
  await until('unknown', 'Failed');
  while (((await find('crash'))?.restarts ?? 0) < 2)
    await new Promise((resolve) => setTimeout(resolve, 20));
  t.regex(await logs(sandbox, '', 'unknown', 'default'), /--image nobody\/knows=COMMAND/);
  t.is(await logs(sandbox, '', 'job', 'default'), 'done\n');
});

test.serial(
  'two sandboxes stand side by side, and the host is as before when they are gone',
  async (t) => {
    const before = describeHost();
    const [one, two] = [await openSandbox(t, 'one'), await openSandbox(t, 'two')];
    await Promise.all([one.apply(SHOP), two.apply(SHOP.replace('replicas: 2', 'replicas: 1'))]);
    await Promise.all([one.settled(), two.settled()]);
    t.is((await podNames(one, 'web-')).length, 2);
    t.is((await podNames(two, 'web-')).length, 1);
    t.is(describeHost(), before);
    await t.throwsAsync(startSandbox(settingsFor('one')), { code: 'ERR_SANDBOX_RUNNING' });

    const { root } = one.paths;
    t.deepEqual(await stopSandbox('one'), { found: 'running' });
    t.false(existsSync(root));
    t.regex(await curl(two, 'http://web/'), /served-by/);
    // The other one crashes: nothing of it stays, and down cleans up.
    const supervisor = runningSupervisor('two');
    process.kill(supervisor?.pid ?? 0, 'SIGKILL');
    while (processesWith(two.paths.root).length > 0)
      await new Promise((resolve) => setTimeout(resolve, 20));
    t.deepEqual(await stopSandbox('two'), { found: 'crashed' });
    t.deepEqual(await stopSandbox('two'), { found: 'none' });
    t.is(describeHost(), before);
  },
);

test.serial('down waits for what takes its time to end in order', async (t) => {
  using folder = new TemporaryFolder();
  const said = join(folder.path, 'said');
  const sandbox = await openSandbox(t, 'slow', { nodes: 1 });
  await sandbox.apply(`
apiVersion: v1
kind: Pod
metadata: { name: slow }
spec:
  containers:
    - name: c
      command: [sh, -c, 'trap "sleep 2; echo over > ${said}; exit" TERM; echo up > ${said}; while :; do sleep 0.1; done']
`);
  while (!existsSync(said)) await delay(20);
  t.deepEqual(await stopSandbox('slow'), { found: 'running' });
  t.is(readFileSync(said, 'utf8'), 'over\n');
});

test.serial('an up after a crash begins anew', async (t) => {
  await openSandbox(t, 'again', { nodes: 1 });
  process.kill(runningSupervisor('again')?.pid ?? 0, 'SIGKILL');
  while (runningSupervisor('again') !== undefined)
    await new Promise((resolve) => setTimeout(resolve, 20));
  await startSandbox(settingsFor('again', { nodes: 1 }));
  t.true((await connectTo('again').settled()).done);
});

async function logs(
  sandbox: TestSandbox,
  query: string,
  pod = 'client',
  namespace = 'shop',
): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const path = `/v1/logs?namespace=${namespace}&pod=${pod}&${query}`;
  const asked = request(
    { socketPath: sandbox.paths.controlSocket, path, agent: false },
    (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      response.on('end', () => {
        resolve(text);
      });
    },
  );
  asked.on('error', reject);
  asked.end();
  return promise;
}

function connectThrough(sandbox: TestSandbox, query: string): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const headers = { connection: 'Upgrade', upgrade: BYTES_PROTOCOL };
  const path = `/v1/connect?${query}`;
  const asked = request({ socketPath: sandbox.paths.controlSocket, path, headers });
  asked.on('upgrade', (_response, socket: Socket, head: Buffer) => {
    if (head.length > 0) socket.unshift(head);
    resolve(socket);
  });
  asked.on('error', reject);
  asked.end();
  return promise;
}
