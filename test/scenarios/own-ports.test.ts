import test, { type ExecutionContext } from 'ava';
import { setTimeout as delay } from 'node:timers/promises';
import { OUTSIDE, startMesh } from '../support/mesh.ts';
import { runAt } from '../support/mesh-tunnels.ts';
import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    namespaceYaml('plain', {}),
    podYaml('web', { node: 'node-2' }),
    podYaml('client', { node: 'node-1' }),
    podYaml('near', { node: 'node-2' }),
    podYaml('stranger', { namespace: 'plain', node: 'node-1' }),
    serviceYaml('web', { 15001: 15001, 15006: 15006, 15008: 15008, 80: 80 }),
  ].join(''),
});

test.before('the server listens', async () => {
  await (await mesh.peer('web')).listen(80);
});

/** Outbound capture, inbound capture, HBONE. */
const OWN_PORTS = [15001, 15006, 15008];
/** A proxy gives a TLS handshake 10 s; whatever is not TLS ends at once. */
const END_TIMEOUT_MS = 8_000;

/**
 * Connects, says something that is no TLS, and waits for the end: prints `answered <bytes>` or how it ended. A TLS alert
 * is no answer.
 */
const CALL = `
const [host, port] = process.argv.slice(1);
const socket = require('node:net').connect(Number(port), host, () => socket.write('GET / HTTP/1.1\\r\\n\\r\\n'));
let bytes = 0;
const say = (text) => { console.log(text); process.exit(0); };
socket.setTimeout(${END_TIMEOUT_MS}, () => say('hangs'));
socket.on('data', (chunk) => { if (chunk[0] !== 21) bytes += chunk.length; });
socket.on('end', () => say(bytes > 0 ? 'answered ' + bytes : 'end'));
socket.on('error', (error) => say(error.code));
`;

async function call(where: string, host: string, port: number): Promise<string> {
  const { stdout, stderr } = await runAt(mesh, where, [
    ...[process.execPath, '-e', CALL, '--', host, String(port)],
  ]);
  return stdout === '' ? stderr : stdout.trim();
}

/** It ended by itself, and nothing was said. */
const REFUSED = /^(?:end|ECONNRESET|ECONNREFUSED)$/;

async function expectRefused(
  t: ExecutionContext,
  where: string,
  hosts: readonly string[],
): Promise<void> {
  const calls = hosts.flatMap((host) => OWN_PORTS.map((port) => [host, port] as const));
  const ends = await Promise.all(calls.map(([host, port]) => call(where, host, port)));
  for (const [index, [host, port]] of calls.entries())
    t.regex(ends[index] ?? '', REFUSED, `${where} to ${host}:${port}`);
}

/** Each connection has ended in every proxy, and none of them has anything to do. */
async function expectQuiet(t: ExecutionContext): Promise<void> {
  for (const node of ['node-1', 'node-2']) {
    const first = await mesh.metrics(node);
    await delay(1000);
    const second = await mesh.metrics(node);
    t.true(first.sum('process_cpu_seconds_total') > 0);
    const seconds = second.growth(first, 'process_cpu_seconds_total');
    t.true(seconds < 0.5, `ztunnel of ${node} used ${seconds} s of CPU in about one`);
    const opened = second.sum('istio_tcp_connections_opened_total');
    const closed = second.sum('istio_tcp_connections_closed_total');
    t.is(opened, closed, node);
    t.is(second.growth(first, 'istio_tcp_connections_failed_total'), 0, node);
  }
}

test.serial('a pod that calls the ports of its own proxy is refused (R8)', async (t) => {
  const hosts = ['127.0.0.1', '::1', await mesh.ip('web'), await mesh.ip('web', 6)];
  await expectRefused(t, 'web', hosts);
  await expectQuiet(t);
});

test.serial('a pod that reaches itself through its Service does not loop (R8)', async (t) => {
  await expectRefused(t, 'web', [await mesh.vip('web')]);
  await expectQuiet(t);
});

test.serial(
  'a pod of the mesh that calls the ports of another proxy is refused (R8)',
  async (t) => {
    const mark = mesh.mark();
    for (const where of ['client', 'near'])
      await expectRefused(t, where, [await mesh.ip('web'), await mesh.vip('web')]);
    const pattern = { direction: 'inbound', error: /the proxy's own/ };
    const records = await mesh.records(pattern, mark, 12);
    t.true(records.every((record) => record['bytes_recv'] === 0 && record['bytes_sent'] === 0));
    await expectQuiet(t);
  },
);

test.serial('whoever is not of the mesh is refused at these ports', async (t) => {
  const ip = await mesh.ip('web');
  await expectRefused(t, 'plain/stranger', [ip, await mesh.vip('web')]);
  await expectRefused(t, OUTSIDE, [ip]);
  await expectRefused(t, 'node-1', [ip, await mesh.vip('web')]);
  await expectRefused(t, 'node-2', [ip]);
  await expectQuiet(t);
});

test.serial('the node itself does not listen on capture ports', async (t) => {
  for (const where of ['client', OUTSIDE, 'node-2'])
    for (const port of [15001, 15006])
      t.regex(await call(where, '172.18.0.12', port), REFUSED, `${where} to the node`);
  await expectQuiet(t);
});

test.serial('afterwards the pod serves as before', async (t) => {
  const client = await mesh.peer('client');
  t.like(await client.say('web.shop', 80, 'hello'), { text: 'hello', ended: 'end' });
});
