import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { request, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import test from 'ava';
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, encodeAddress } from '../../mesh/xds/codec.ts';
import { ZdsServer } from '../../mesh/zds/server.ts';
import { adoptNetns } from '../../net/netns.ts';
import { duplicate } from '../../net/descriptor.ts';
import { ScriptedXds } from '../support/scripted-xds.ts';
import { TemporaryFolder } from '../support/temporary-folder.ts';
import { makeService } from '../support/workloads.ts';
import { TestNode } from '../support/ztunnel-pods.ts';

type Page = Readonly<{ status: number; body: string }>;

async function ask(socketPath: string, path: string, method = 'GET'): Promise<Page> {
  const asked = request({ socketPath, path, method, agent: false });
  asked.end();
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  return { status: response.statusCode ?? 0, body: await text(response) };
}

test('the program from start to drain: readiness, pages, a pod, and the end at the deadline', async (t) => {
  t.timeout(60_000);
  const node = await TestNode.open(t);
  const client = node.addCaptured({ name: 'client' });
  const outside = node.addPlain({ name: 'outside', tunnelProtocol: 'NONE' });
  using temporary = new TemporaryFolder();
  const folder = temporary.path;
  const admin = join(folder, 'admin', 'ztunnel.sock');
  for (const name of ['admin', 'agent']) mkdirSync(join(folder, name), { mode: 0o700 });
  writeFileSync(join(folder, 'token'), 'a token');
  const xds = await ScriptedXds.start();
  writeFileSync(join(folder, 'root.pem'), xds.rootPem);
  const info = { name: 'client', namespace: 'shop', serviceAccount: 'client' };
  const agent = new ZdsServer({
    path: join(folder, 'agent', 'zds.sock'),
    snapshot: () => [{ uid: 'uid-1', info, netns: adoptNetns(duplicate(client.netns.fd)) }],
    log: () => undefined,
  });
  t.teardown(() => {
    agent.close();
    xds.stop();
  });
  // Of its own, and below those that the kernel gives to anybody: from 32,768 on.
  const [adminPort, statsPort] = [20_000, 20_001].map((port) => port + (process.pid % 6_000) * 2);
  const program = join(import.meta.dirname, '../../ztunnel/main.ts');
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      NODE_NAME: 'node-a',
      XDS_ADDRESS: xds.address,
      CA_ADDRESS: xds.address, // which is no CA
      ...{ XDS_ROOT_CA: join(folder, 'root.pem'), CA_ROOT_CA: join(folder, 'root.pem') },
      ALT_XDS_HOSTNAME: 'istiod.istio-system.svc',
      AUTH_TOKEN: join(folder, 'token'),
      INPOD_UDS: join(folder, 'agent', 'zds.sock'),
      ADMIN_UDS: admin,
      ISTIO_META_DNS_CAPTURE: 'false',
      UNSTABLE_ENABLE_SOCKS5: 'true',
      ISTIO_META_ISTIO_VERSION: 'test-build',
      PROXY_CONFIG: JSON.stringify({ proxyAdminPort: adminPort, statsPort }),
      CONNECTION_TERMINATION_DEADLINE: '1s',
      LOG_FORMAT: 'json',
    },
  });
  const exited = once(child, 'exit');
  void exited.then((how) => {
    t.log(`the program ended: ${how.join(' ')}`);
  });
  t.teardown(() => {
    child.kill('SIGKILL');
  });
  const log = text(child.stdout);

  const stream = await xds.stream();
  const types = [await stream.request(), await stream.request()].map(({ typeUrl }) => typeUrl);
  t.deepEqual(types.sort(), [ADDRESS_TYPE, AUTHORIZATION_TYPE].sort());
  // Connected, but not warm: not ready, and no pod is served.
  let ready: Page | undefined;
  while (ready === undefined)
    ready = await ask(admin, '/healthz/ready').catch(async () => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return undefined;
    });
  t.is(ready.status, 500);
  t.regex(ready.body, /^not ready, pending: .*state manager/);

  const resource = (name: string, value: Uint8Array): object => ({
    ...{ name, version: '1', aliases: [] },
    resource: { typeUrl: ADDRESS_TYPE, value: Buffer.from(value) },
  });
  const service = makeService({ name: 'web', vips: ['10.96.0.10'] });
  const resources = [
    resource(client.workload.uid, encodeAddress({ kind: 'workload', workload: client.workload })),
    resource('shop/web.shop.svc.cluster.local', encodeAddress({ kind: 'service', service })),
  ] as never;
  stream.respond({ typeUrl: ADDRESS_TYPE, nonce: '1', resources });
  stream.respond({ typeUrl: AUTHORIZATION_TYPE, nonce: '2' });
  while ((await ask(admin, '/healthz/ready')).status !== 200)
    await new Promise((resolve) => setTimeout(resolve, 20));

  // SOCKS5 in the pod's namespace.
  t.regex(client.run('ss -Htln "sport = :15080"'), / 127\.0\.0\.1:15080 /);
  const refused = 'curl -sS --socks5 127.0.0.1:15080 http://0.0.0.0:15080/ 2>&1 || true';
  t.regex(client.run(refused), /\(2\)$/m);

  // A long connection, of the kind that needs no certificate.
  const accepted = outside.accept(8080);
  const app = await client.connect(outside.ip, 8080);
  await app.write('hello');
  const { app: backend } = await accepted;
  await backend.until((c) => c.received === 5);

  // A pod whose ports are taken is tried again until they are free.
  const late = node.addPlain({ name: 'late' });
  const taken = late.listen(15006, () => undefined);
  const lateInfo = { name: 'late', namespace: 'shop', serviceAccount: 'late' };
  const lateNetns = adoptNetns(duplicate(late.netns.fd));
  t.like(await agent.add({ uid: 'uid-2', info: lateInfo, netns: lateNetns }), { kind: 'refused' });
  const counts = async (): Promise<string[]> =>
    (
      (await ask(admin, '/metrics')).body.match(/^workload_manager_\w+_proxy_count \d+$/gm) ?? []
    ).sort();
  const [active, pending] = ['active', 'pending'].map(
    (kind) => `workload_manager_${kind}_proxy_count`,
  );
  t.deepEqual(await counts(), [`${active} 1`, `${pending} 1`]);
  t.regex((await ask(admin, '/healthz/ready')).body, /pending: workload proxy manager/);
  taken.close();
  while ((await ask(admin, '/healthz/ready')).status !== 200)
    await new Promise((resolve) => setTimeout(resolve, 20));
  t.deepEqual(await counts(), [`${active} 2`, `${pending} 0`]);
  await agent.remove('uid-2');

  const dump = JSON.parse((await ask(admin, '/config_dump')).body) as Record<string, unknown>;
  for (const key of [
    ...['workloads', 'services', 'policies', 'stagedServices', 'staticConfig', 'version'],
    ...['config', 'certificates', 'workloadState'],
  ])
    t.true(key in dump, key);
  t.like(dump['workloads'], [{ uid: client.workload.uid, serviceAccount: 'client' }]);
  t.like(dump['services'], [{ hostname: 'web.shop.svc.cluster.local' }]);
  t.like(dump['certificates'], [{ identity: 'spiffe://cluster.local/ns/shop/sa/client' }]);
  t.like((dump['workloadState'] as Record<string, unknown>)['uid-1'], { state: 'Up', info });
  t.regex(JSON.stringify(dump['workloadState']), new RegExp(`"actualDst":"${outside.ip}:8080"`));
  t.notRegex(JSON.stringify(dump['config']), /a token/);

  const explained = `/explain?src=${encodeURIComponent(client.workload.uid)}&destination=${outside.ip}:8080`;
  t.regex((await ask(admin, explained)).body, /"kind": ?"passthrough"/);
  t.is((await ask(admin, '/explain')).status, 400);
  t.regex((await ask(admin, '/logging?level=debug', 'POST')).body, /current log level is debug/);
  t.regex((await ask(admin, '/logging?reset', 'POST')).body, /current log level is info/);
  const metrics = (await ask(admin, '/metrics')).body;
  for (const line of [
    'istio_build{component="ztunnel",tag="test-build"} 1',
    'workload_manager_active_proxy_count 1',
    'workload_manager_proxies_started_total 2',
    'workload_manager_proxies_stopped_total 1',
    'istio_tcp_sockets_open{reporter="source"} 1',
  ])
    t.true(metrics.split('\n').includes(line), line);
  t.regex(metrics, /^istio_xds_message_total\{url="[^"]*Address"\} 1$/m);
  t.regex(metrics, /^process_open_fds \d+$/m);

  child.kill('SIGTERM');
  await app.until(({ error }) => error !== undefined);
  const [code] = (await exited) as [number];
  t.is(code, 0);
  const records = (await log)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  const end = records.find(({ message }) => message === 'connection complete');
  t.like(end, { direction: 'outbound', error: 'connection closed due to connection drain' });
  t.true(records.some(({ message, outcome }) => message === 'drained' && outcome === 'forced'));
});
