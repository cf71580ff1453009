import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import test from 'ava';
import type { DeltaClientOptions } from '../../../mesh/xds/delta-client.ts';
import { A, B, begin, node, startDeltaClient } from '../../support/delta-client.ts';
import { makeResource, ScriptedXds } from '../../support/scripted-xds.ts';

test('makeNode() tells who the proxy is, and the environment cannot change that', (t) => {
  t.is(node.id, 'ztunnel~10.0.0.7~ztunnel-1.istio-system~istio-system.svc.cluster.local');
  t.deepEqual(node.metadata, {
    NAME: 'ztunnel-1',
    NAMESPACE: 'istio-system',
    INSTANCE_IPS: '10.0.0.7',
    NODE_NAME: 'node-a',
    SERVICE_ACCOUNT: 'ztunnel',
    NETWORK: 'n1',
    LABELS: { a: ['b'] },
  });
});

test('a stream begins with a wildcard request for each type, with node, token and cluster', async (t) => {
  const { server } = await startDeltaClient(t);
  const stream = await server.stream();
  for (const typeUrl of [A, B]) {
    const request = await stream.request();
    t.is(request.typeUrl, typeUrl);
    t.is(request.node?.id, node.id);
    t.is(request.node?.metadata?.['NODE_NAME'], 'node-a');
    t.deepEqual(request.resourceNamesSubscribe, []);
    t.is(request.initialResourceVersions.size, 0);
  }
  t.deepEqual(stream.metadata.get('authorization'), ['Bearer secret']);
  t.deepEqual(stream.metadata.get('clusterid'), ['Kubernetes']);
});

test('a response is applied and acknowledged', async (t) => {
  const { server, applied, events } = await startDeltaClient(t);
  const stream = await server.stream();
  await stream.request();
  await stream.request();
  stream.respond({
    typeUrl: A,
    nonce: 'n1',
    resources: [makeResource(A, 'x', '1'), makeResource(A, 'y', '1')],
    removedResources: ['z'],
  });
  const ack = await stream.request();
  t.is(ack.typeUrl, A);
  t.is(ack.responseNonce, 'n1');
  t.is(ack.errorDetail, undefined);
  t.is(ack.node, undefined);
  t.deepEqual(applied, [{ typeUrl: A, names: ['x', 'y'], removed: ['z'] }]);
  t.like(
    events.filter(({ kind }) => kind === 'message'),
    [{ typeUrl: A, resources: 2, removed: 1 }],
  );
});

test('the client is synced after the first accepted response of each type', async (t) => {
  let bad = true;
  const { server, client } = await startDeltaClient(t, { reject: () => (bad ? 'bad' : undefined) });
  let synced = false;
  void client.synced.then(() => (synced = true));
  const stream = await server.stream();
  await begin(stream, { x: '1' }); // refused
  stream.respond({ typeUrl: B, nonce: 'b' });
  await stream.request();
  t.false(synced);
  bad = false;
  stream.respond({ typeUrl: A, nonce: 'a2', resources: [makeResource(A, 'x', '2')] });
  await stream.request();
  await client.synced;
  t.true(synced);
});

test('a bad resource is named in a NACK, while the good ones are taken (C3)', async (t) => {
  const reject = (name: string): string | undefined => (name === 'bad' ? 'port 0' : undefined);
  const { server, applied, client } = await startDeltaClient(t, { reject });
  const stream = await server.stream();
  await stream.request();
  await stream.request();
  stream.respond({
    typeUrl: A,
    nonce: 'n1',
    resources: [
      makeResource(A, 'good', '1'),
      makeResource(A, 'bad', '1'),
      makeResource(B, 'other-type', '1'),
      { name: 'empty', version: '1', aliases: [] },
      makeResource(A, '', '1'),
    ],
  });
  const nack = await stream.request();
  t.is(nack.responseNonce, 'n1');
  t.is(nack.errorDetail?.code, 3);
  t.is(
    nack.errorDetail?.message,
    'other-type: it is of type "type.test/B"; empty: it has no content; : it has no name; bad: port 0',
  );
  t.deepEqual(applied[0]?.names, ['good', 'bad']);
  t.is(client.status.resources.get(A), 1);
});

test('the reasons of a NACK have a bound', async (t) => {
  const { server } = await startDeltaClient(t, { reject: () => 'x'.repeat(500) });
  const stream = await server.stream();
  await stream.request();
  await stream.request();
  const resources = Array.from({ length: 100 }, (_, index) => makeResource(A, `r${index}`, '1'));
  stream.respond({ typeUrl: A, nonce: 'n', resources });
  const nack = await stream.request();
  t.true((nack.errorDetail?.message.length ?? 0) < 5000);
  t.regex(nack.errorDetail?.message ?? '', /and 9\d more$/);
});

test('a type that nobody asked for is refused and not applied', async (t) => {
  const { server, applied } = await startDeltaClient(t);
  const stream = await server.stream();
  await stream.request();
  await stream.request();
  stream.respond({
    typeUrl: 'type.test/C',
    nonce: 'c',
    resources: [makeResource('type.test/C', 'x', '1')],
  });
  const nack = await stream.request();
  t.is(nack.typeUrl, 'type.test/C');
  t.regex(nack.errorDetail?.message ?? '', /nobody asked for this type/);
  t.deepEqual(applied, []);
});

test('a reconnect tells the versions that are held: of a refused update the last good one', async (t) => {
  let refused = 'never-good';
  const { server } = await startDeltaClient(t, {
    reject: (name) => (name === refused ? 'bad' : undefined),
  });
  const first = await server.stream();
  await begin(first, { x: '1', y: '1', gone: '1', 'never-good': '1' });
  refused = 'y';
  first.respond({
    typeUrl: A,
    nonce: 'n2',
    resources: [makeResource(A, 'x', '2'), makeResource(A, 'y', '2')],
    removedResources: ['gone'],
  });
  await first.request();
  first.end();
  const second = await server.stream();
  const request = await second.request();
  t.deepEqual([...request.initialResourceVersions].sort(), [
    ['x', '2'],
    ['y', '1'],
  ]);
  t.is(request.node?.id, node.id);
});

test('a stream that ended in order is opened again within tens of milliseconds', async (t) => {
  const { server, event } = await startDeltaClient(t);
  const first = await server.stream();
  await begin(first);
  const terminated = event('terminated');
  first.end();
  const ended = await terminated;
  t.like(ended, { kind: 'terminated', reason: 'Complete' });
  t.true(ended.kind === 'terminated' && ended.retryInMs <= 10);
  await server.stream();
});

test('streams that fail at once are tried ever more slowly', async (t) => {
  const { server, events } = await startDeltaClient(t);
  for (let round = 0; round < 6; round++) {
    const stream = await server.stream();
    stream.fail(status.UNAUTHENTICATED, 'no');
  }
  await server.stream();
  const pauses = events.flatMap((one) => (one.kind === 'terminated' ? [one.retryInMs] : []));
  t.is(pauses.length, 6);
  pauses.forEach((pause, round) => {
    const full = 10 * 2 ** round;
    t.true(pause >= full / 2 - 1 && pause <= full, `pause ${round}: ${pause}`);
  });
});

test('why a stream ended is told as the metric counts it', async (t) => {
  const { server, event } = await startDeltaClient(t);
  const reasons: unknown[] = [];
  const failures: readonly (readonly [number, string])[] = [
    [status.UNAVAILABLE, 'transport is closing'],
    [status.INTERNAL, 'broken'],
  ];
  for (const [code, details] of failures) {
    const stream = await server.stream();
    await begin(stream);
    const terminated = event('terminated');
    stream.fail(code, details);
    const ended = await terminated;
    reasons.push(ended.kind === 'terminated' && ended.reason);
  }
  const terminated = event('terminated');
  (await server.stream()).fail(status.UNAUTHENTICATED, 'no');
  const ended = await terminated;
  reasons.push(ended.kind === 'terminated' && ended.reason);
  t.deepEqual(reasons, ['Reconnect', 'Error', 'ConnectionError']);
});

test('what was received stays while there is no control plane', async (t) => {
  const { server, client, applied, event } = await startDeltaClient(t);
  await begin(await server.stream(), { x: '1' });
  const terminated = event('terminated');
  server.stop();
  await terminated;
  const again = event('terminated');
  t.like(await again, { reason: 'ConnectionError' });
  t.is(client.status.resources.get(A), 1);
  t.false(client.status.connected);
  t.truthy(client.status.lastError);
  t.is(applied.length, 1);
});

test('a server that does not prove its name gets nothing', async (t) => {
  const other = await ScriptedXds.start();
  t.teardown(() => {
    other.stop();
  });
  const { event, client } = await startDeltaClient(t, { roots: other.rootPem });
  t.like(await event('terminated'), { reason: 'ConnectionError' });
  t.false(client.status.connected);
});

test('the token is read for every stream', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'token-'));
  const token = join(folder, 'token');
  writeFileSync(token, 'one\n');
  const server = await ScriptedXds.start();
  t.teardown(() => {
    server.stop();
    rmSync(folder, { recursive: true });
  });
  await startDeltaClient(t, {
    controlPlane: { address: server.address, clusterId: 'c', token },
    roots: server.rootPem,
  });
  const first = await server.stream();
  t.deepEqual(first.metadata.get('authorization'), ['Bearer one']);
  await begin(first);
  writeFileSync(token, 'two\n');
  first.end();
  const second = await server.stream();
  t.deepEqual(second.metadata.get('authorization'), ['Bearer two']);
});

test('responses are applied one after the other', async (t) => {
  const log: string[] = [];
  const gates: (() => void)[] = [];
  const apply: DeltaClientOptions['apply'] = async (_typeUrl, resources) => {
    log.push(`begin ${resources[0]?.name ?? ''}`);
    await new Promise<void>((resolve) => gates.push(resolve));
    log.push(`end ${resources[0]?.name ?? ''}`);
    return [];
  };
  const { server, event } = await startDeltaClient(t, { apply });
  const stream = await server.stream();
  await stream.request();
  await stream.request();
  const arrived = event('message');
  stream.respond({ typeUrl: A, nonce: '1', resources: [makeResource(A, 'x', '1')] });
  stream.respond({ typeUrl: A, nonce: '2', resources: [makeResource(A, 'y', '1')] });
  await arrived;
  const second = event('message');
  t.deepEqual(log, ['begin x']);
  gates.shift()?.();
  t.is((await stream.request()).responseNonce, '1');
  await second;
  gates.shift()?.();
  t.is((await stream.request()).responseNonce, '2');
  t.deepEqual(log, ['begin x', 'end x', 'begin y', 'end y']);
});

test('when applying fails as a whole the stream begins anew, and nothing counts as held', async (t) => {
  let broken = true;
  const apply: DeltaClientOptions['apply'] = () =>
    broken ? Promise.reject(new Error('the data thread died')) : Promise.resolve([]);
  const { server, event } = await startDeltaClient(t, { apply });
  const stream = await server.stream();
  await stream.request();
  await stream.request();
  const terminated = event('terminated');
  stream.respond({ typeUrl: A, nonce: 'n', resources: [makeResource(A, 'x', '1')] });
  t.like(await terminated, { reason: 'Error', error: { message: 'the data thread died' } });
  broken = false;
  const again = await server.stream();
  t.is((await again.request()).initialResourceVersions.size, 0);
});

const malformed: readonly (readonly [string, Uint8Array])[] = [
  ['a truncated message', Buffer.from('12ff', 'hex')],
  ['a zero tag', Buffer.from('00ff', 'hex')],
  ['a name that is longer than the message', Buffer.from('120a1a7f61', 'hex')],
  ['an unfinished varint', Buffer.from('08ffffffffffffffffffff', 'hex')],
  ['text', Buffer.from('<html>bad gateway</html>')],
];
for (const [title, bytes] of malformed) {
  test(`${title} ends the stream, and the next one goes on with what is held (C3)`, async (t) => {
    const { server, event, applied } = await startDeltaClient(t);
    const stream = await server.stream();
    await begin(stream, { x: '1' });
    const terminated = event('terminated');
    stream.respondBytes(bytes);
    t.like(await terminated, { kind: 'terminated', reason: 'Error' });
    t.is(applied.length, 1);
    const next = await server.stream();
    t.deepEqual([...(await next.request()).initialResourceVersions], [['x', '1']]);
  });
}

test('run() ends when its signal aborts, and the server hears of it', async (t) => {
  const { server, stop, done } = await startDeltaClient(t);
  const stream = await server.stream();
  await begin(stream);
  stop.abort();
  await done;
  await stream.ended;
  t.pass();
});
