import { status } from '@grpc/grpc-js';
import { mkdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import test from 'ava';
import { serveAdmin } from '../../istiod-lite/admin.ts';
import { readConfig } from '../../istiod-lite/config.ts';
import { fetchAdmin, fetchAdminJson } from '../../mesh/admin/client.ts';
import { openLog, DEFAULT_LOG_LEVELS } from '../../mesh/runtime/log.ts';
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../../mesh/xds/codec.ts';
import { denyYaml, podYaml, serviceYaml, TestControlPlane } from './support/control-plane.ts';
import { connectZtunnel, ztunnelNode } from './support/xds-client.ts';

const SERVICE_ENTRY = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: out, namespace: shop }
spec: { hosts: [api.example.com], resolution: DNS, ports: [{ number: 443, name: tls, protocol: TLS }] }
---
`;
const EXTERNAL_NAME = `apiVersion: v1
kind: Service
metadata: { name: old, namespace: shop }
spec: { type: ExternalName, externalName: www.example.com }
`;

async function withPages(control: TestControlPlane, stack: AsyncDisposableStack) {
  const log = openLog({
    ...{ format: 'text', levels: DEFAULT_LOG_LEVELS },
    writer: { write: () => true, flush: () => undefined },
  });
  const uds = control.path('admin.sock');
  const config = readConfig({
    ...{ CA_DIR: 'x', TOKEN_JWKS: 'x', HTTP_PORT: '0', READY_PORT: '0', ADMIN_UDS: uds },
  });
  const ports = await serveAdmin(config, control.running, { log, stack });
  return { ports, target: { kind: 'unix', path: uds } as const };
}

test('the pages show what is in force, what is wrong, and who has what', async (t) => {
  await using control = new TestControlPlane();
  await using stack = new AsyncDisposableStack();
  control.write('a.yaml', serviceYaml('web', '10.96.0.1') + podYaml('web-1', { ip: '10.1.0.1' }));
  control.write('b.yaml', SERVICE_ENTRY + EXTERNAL_NAME);
  control.write(
    'c.yaml',
    'apiVersion: v1\nkind: Service\nmetadata: { name: bad }\nspec: { prts: [] }\n',
  );
  await control.start();
  const { target, ports } = await withPages(control, stack);
  using client = await connectZtunnel(control);
  for (const typeUrl of [ADDRESS_TYPE, AUTHORIZATION_TYPE]) {
    client.send({ node: ztunnelNode(), typeUrl });
    client.acknowledge(await client.next());
  }
  const waited = await fetchAdminJson(target, '/debug/wait?timeout=5');
  t.like(waited, { done: true, proxies: 1, laggards: [] });
  t.like(await fetchAdminJson(target, '/debug/syncz'), {
    proxies: [{ proxy: ztunnelNode().id, node: 'node-a', synced: true }],
  });
  t.like(await fetchAdminJson(target, '/debug/ambientz'), {
    workloads: [{ name: 'web-1' }, { hostname: 'api.example.com' }],
  });
  const errors = JSON.stringify(await fetchAdminJson(target, '/debug/errors'));
  t.regex(errors, /c\.yaml:4:9: error: Service default\/bad: spec\.prts/);
  t.regex(errors, /"object":"Service shop\/old","type":"halo.dev\/Accepted"/);
  t.regex(JSON.stringify(await fetchAdminJson(target, '/debug/snapshotz')), /"kind":"Pod"/);
  const metrics = await fetchAdmin(target, '/metrics');
  t.regex(metrics.body, /^pilot_xds 1$/m);
  t.regex(metrics.body, /^citadel_server_root_cert_expiry_timestamp \d{10}$/m);
  t.deepEqual(await fetchAdmin(target, '/ready'), { status: 200, body: 'ready\n' });
  t.is((await fetchAdmin(target, '/debug/wait?timeout=-1')).status, 400);
  t.is((await fetchAdmin(target, '/debug/wait?revision=x')).status, 400);
  // What others may reach shows nothing of the configuration.
  const open = { kind: 'tcp', host: '127.0.0.1', port: ports.ready } as const;
  t.is((await fetchAdmin(open, '/ready')).status, 200);
  t.is((await fetchAdmin(open, '/metrics')).status, 200);
  t.is((await fetchAdmin(open, '/debug/ambientz')).status, 404);
});

test('the root is changed in steps, and both are published meanwhile', async (t) => {
  await using control = new TestControlPlane();
  await using stack = new AsyncDisposableStack();
  await control.start();
  const { target } = await withPages(control, stack);
  const roots = (): number => control.rootPem.split('BEGIN CERTIFICATE').length - 1;
  const rotate = async (step: string): Promise<number> =>
    (await fetchAdmin(target, `/ca/rotate?step=${step}`, { method: 'POST' })).status;
  const before = control.rootPem;
  t.is(await rotate('other'), 400);
  t.is(await rotate('begin'), 200);
  t.is(roots(), 2);
  t.is(await rotate('switch'), 200);
  t.is(await rotate('finish'), 200);
  t.is(roots(), 1);
  t.not(control.rootPem, before);
  // The control plane itself is known by the new root now.
  using client = await connectZtunnel(control);
  client.send({ node: ztunnelNode(), typeUrl: ADDRESS_TYPE });
  t.is((await client.next()).typeUrl, ADDRESS_TYPE);
  t.is((await fetchAdmin(target, '/ca/rotate?step=begin')).status, 405);
});

test('a debug page is not answered under a name that a web page may have rebound', async (t) => {
  await using control = new TestControlPlane();
  await using stack = new AsyncDisposableStack();
  await control.start();
  const { ports } = await withPages(control, stack);
  const status = await new Promise<number | undefined>((resolve, reject) => {
    const asked = request({
      ...{ host: '127.0.0.1', port: ports.http, path: '/debug/ambientz' },
      headers: { host: 'evil.example.com' },
    });
    asked.on('response', (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    asked.on('error', reject);
    asked.end();
  });
  t.is(status, 403);
});

test('revisions and VIPs go on after a restart, and conditions are written for others to show', async (t) => {
  await using control = new TestControlPlane();
  control.write('b.yaml', SERVICE_ENTRY + EXTERNAL_NAME);
  await control.start();
  const { revision } = control.running.snapshot;
  await control.stop();
  const status: unknown = JSON.parse(readFileSync(control.path('status/status.json'), 'utf8'));
  t.like(status, { revision });
  const text = JSON.stringify(status);
  t.regex(
    text,
    /"kind":"Service","namespace":"shop","name":"old","conditions":\[\{"type":"halo.dev\/Accepted"/,
  );
  const [address] = /240\.240\.\d+\.\d+/.exec(text) ?? [];
  t.truthy(address);
  await control.start();
  t.true(control.running.snapshot.revision > revision);
  await control.stop();
  t.true(readFileSync(control.path('status/status.json'), 'utf8').includes(address ?? '-'));
});

test('a file that turns bad changes nothing but the list of problems', async (t) => {
  await using control = new TestControlPlane();
  control.write('a.yaml', serviceYaml('web', '10.96.0.1'));
  await control.start();
  const revision = await control.running.refresh();
  control.write('a.yaml', 'kind: [');
  t.is(await control.running.refresh(), revision);
  t.is(control.running.problems().length, 1);
  t.regex(control.lines.join('\n'), /a\.yaml:1:\d+/);
  control.write('a.yaml', serviceYaml('web', '10.96.0.2'));
  t.is(await control.running.refresh(), revision + 1);
  t.deepEqual(control.running.problems(), []);
});

test('a setting that is wrong or missing is named, all of them at once', (t) => {
  const error = t.throws(() => readConfig({ TRUST_DOMAIN: 'Not One', GRPC_PORT: '70000' }), {
    code: 'ERR_ENV',
  });
  for (const name of ['CA_DIR', 'TOKEN_JWKS', 'TRUST_DOMAIN', 'GRPC_PORT'])
    t.true(error.message.includes(name), name);
});

test('a policy whose file is broken holds through a restart, and no proxy is told that it is gone', async (t) => {
  await using control = new TestControlPlane();
  control.write('deny.yaml', denyYaml('no-others', 'others'));
  await control.start();
  control.write('deny.yaml', 'kind: [');
  await control.running.refresh();
  const versions = new Map<string, string>();
  {
    using client = await connectZtunnel(control);
    client.send({ node: ztunnelNode(), typeUrl: AUTHORIZATION_TYPE });
    for (const { name, version } of (await client.next()).resources) versions.set(name, version);
  }
  t.deepEqual([...versions.keys()], ['shop/no-others']);
  await control.stop();
  await control.start();
  t.regex(JSON.stringify(control.running.problems()), /deny\.yaml/);
  using client = await connectZtunnel(control);
  client.send({
    ...{ node: ztunnelNode(), typeUrl: AUTHORIZATION_TYPE, initialResourceVersions: versions },
  });
  t.like(await client.next(), { resources: [], removedResources: [] });
});

test('proxies are refused while a part of the configuration was never read', async (t) => {
  await using control = new TestControlPlane();
  control.write('a.yaml', serviceYaml('web', '10.96.0.1'));
  const missing = control.path('other');
  await control.start({ CONFIG_DIRS: `${control.path('config')}:${missing}` });
  t.false(control.running.readiness.pending().length === 0);
  {
    using client = await connectZtunnel(control);
    client.send({ node: ztunnelNode(), typeUrl: ADDRESS_TYPE });
    t.is((await client.ended()).code, status.UNAVAILABLE);
  }
  mkdirSync(missing);
  await control.running.refresh();
  t.deepEqual(control.running.readiness.pending(), []);
  using client = await connectZtunnel(control);
  client.send({ node: ztunnelNode(), typeUrl: ADDRESS_TYPE });
  t.is((await client.next()).resources.length, 1);
});
