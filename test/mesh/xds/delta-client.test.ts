import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { status } from '@grpc/grpc-js';
import test, { type ExecutionContext } from 'ava';
import {
  DeltaClient,
  type DeltaClientEvent,
  type DeltaClientOptions,
  type ResourceRejection,
} from '../../../mesh/xds/delta-client.ts';
import { makeNode } from '../../../mesh/xds/node.ts';
import { makeResource, ScriptedXds, type ScriptedStream } from '../../support/scripted-xds.ts';

const A = 'type.test/A';
const B = 'type.test/B';
const node = makeNode(
  {
    type: 'ztunnel',
    podName: 'ztunnel-1',
    podNamespace: 'istio-system',
    instanceIp: '10.0.0.7',
    nodeName: 'node-a',
    serviceAccount: 'ztunnel',
  },
  new Map([
    ['ISTIO_META_NETWORK', 'n1'],
    ['ISTIO_METAJSON_LABELS', '{"a":["b"]}'],
    ['ISTIO_METAJSON_BROKEN', '{'],
    ['ISTIO_META_NAME', 'another'],
    ['PATH', '/bin'],
  ]),
);

type Applied = { typeUrl: string; names: string[]; removed: string[] };

type Running = Readonly<{
  server: ScriptedXds;
  client: DeltaClient;
  applied: Applied[];
  events: DeltaClientEvent[];
  /** Settles with the next event of a kind. */
  event: (kind: DeltaClientEvent['kind']) => Promise<DeltaClientEvent>;
  stop: AbortController;
  done: Promise<void>;
}>;

async function start(
  t: ExecutionContext,
  options: Partial<DeltaClientOptions> & {
    reject?: (name: string) => string | undefined;
  } = {},
): Promise<Running> {
  const server = await ScriptedXds.start();
  const applied: Applied[] = [];
  const events: DeltaClientEvent[] = [];
  const waiting: { kind: DeltaClientEvent['kind']; wake: (event: DeltaClientEvent) => void }[] = [];
  const { reject, ...rest } = options;
  const client = new DeltaClient({
    controlPlane: { address: server.address, clusterId: 'Kubernetes', token: 'secret' },
    roots: server.rootPem,
    node,
    types: [
      { typeUrl: A, onDemand: false },
      { typeUrl: B, onDemand: false },
    ],
    apply: (typeUrl, resources, removed) => {
      applied.push({ typeUrl, names: resources.map(({ name }) => name), removed: [...removed] });
      const rejections = resources.flatMap(({ name }): ResourceRejection[] => {
        const reason = reject?.(name);
        return reason === undefined ? [] : [{ name, reason }];
      });
      return Promise.resolve(rejections);
    },
    onEvent: (event) => {
      events.push(event);
      const at = waiting.findIndex(({ kind }) => kind === event.kind);
      if (at >= 0) waiting.splice(at, 1)[0]?.wake(event);
    },
    ...rest,
  });
  const stop = new AbortController();
  const done = client.run(stop.signal);
  t.teardown(async () => {
    stop.abort();
    await done;
    server.stop();
  });
  const event = (kind: DeltaClientEvent['kind']): Promise<DeltaClientEvent> =>
    new Promise((wake) => waiting.push({ kind, wake }));
  return { server, client, applied, events, event, stop, done };
}

/** Takes the first request of each type, and answers A with resources. */
async function begin(
  stream: ScriptedStream,
  resources: Readonly<Record<string, string>> = {},
): Promise<void> {
  await stream.request();
  await stream.request();
  stream.respond({
    typeUrl: A,
    nonce: 'first',
    resources: Object.entries(resources).map(([name, version]) => makeResource(A, name, version)),
  });
  await stream.request();
}

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
  const { server } = await start(t);
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
  const { server, applied, events } = await start(t);
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
  const { server, client } = await start(t, { reject: () => (bad ? 'bad' : undefined) });
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
  const { server, applied, client } = await start(t, { reject });
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
  const { server } = await start(t, { reject: () => 'x'.repeat(500) });
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
  const { server, applied } = await start(t);
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
  const { server } = await start(t, { reject: (name) => (name === refused ? 'bad' : undefined) });
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
  const { server, event } = await start(t);
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
  const { server, events } = await start(t);
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
  const { server, event } = await start(t);
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
  const { server, client, applied, event } = await start(t);
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
  const { event, client } = await start(t, { roots: other.rootPem });
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
  await start(t, {
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
  const { server, event } = await start(t, { apply });
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
  const { server, event } = await start(t, { apply });
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
    const { server, event, applied } = await start(t);
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
  const { server, stop, done } = await start(t);
  const stream = await server.stream();
  await begin(stream);
  stop.abort();
  await done;
  await stream.ended;
  t.pass();
});

// On demand

const onDemand = { types: [{ typeUrl: A, onDemand: true }] };

test('an on-demand type begins by wanting nothing, and needs no response to be synced', async (t) => {
  const { server, client } = await start(t, onDemand);
  await client.synced;
  const stream = await server.stream();
  const request = await stream.request();
  t.deepEqual(request.resourceNamesSubscribe, ['*']);
  t.deepEqual(request.resourceNamesUnsubscribe, ['*']);
});

test('demand() settles when a response names the key, by name, by alias or as removed', async (t) => {
  const { server, client } = await start(t, onDemand);
  const stream = await server.stream();
  await stream.request();
  const { signal } = new AbortController();
  const byAlias = client.demand(A, 'n1/10.0.0.1', signal);
  const again = client.demand(A, 'n1/10.0.0.1', signal);
  const missing = client.demand(A, 'n1/10.0.0.2', signal);
  t.deepEqual((await stream.request()).resourceNamesSubscribe, ['n1/10.0.0.1']);
  t.deepEqual((await stream.request()).resourceNamesSubscribe, ['n1/10.0.0.2']);
  stream.respond({
    typeUrl: A,
    nonce: 'n',
    resources: [makeResource(A, 'uid-1', '1', Buffer.from('x'), ['n1/10.0.0.1'])],
    removedResources: ['n1/10.0.0.2'],
  });
  await Promise.all([byAlias, again, missing]);
  t.is((await stream.request()).responseNonce, 'n');
  await client.demand(A, 'n1/10.0.0.1', signal); // known by now
  t.is(client.status.resources.get(A), 1);
});

test('keys that were asked for survive a reconnect', async (t) => {
  const { server, client } = await start(t, onDemand);
  const first = await server.stream();
  await first.request();
  const { signal } = new AbortController();
  const held = client.demand(A, 'uid-1', signal);
  await first.request();
  first.respond({ typeUrl: A, nonce: 'n', resources: [makeResource(A, 'uid-1', '7')] });
  await held;
  await first.request();
  const pending = client.demand(A, 'uid-2', signal);
  await first.request();
  first.end();
  const second = await server.stream();
  const request = await second.request();
  t.deepEqual([...request.initialResourceVersions].sort(), [
    ['uid-1', '7'],
    ['uid-2', ''],
  ]);
  t.deepEqual(request.resourceNamesSubscribe.toSorted(), ['*', 'uid-1', 'uid-2']);
  second.respond({ typeUrl: A, nonce: 'm', removedResources: ['uid-2'] });
  await pending;
  t.pass();
});

test('demand() gives up with its signal, and asks nothing of a type that is not on demand', async (t) => {
  const { server, client } = await start(t, onDemand);
  await (await server.stream()).request();
  const impatient = new AbortController();
  const waiting = client.demand(A, 'uid-1', impatient.signal);
  impatient.abort(new Error('enough'));
  await t.throwsAsync(waiting, { message: 'enough' });
  await t.throwsAsync(client.demand(A, 'uid-2', impatient.signal), { message: 'enough' });
  await client.demand('type.test/other', 'x', new AbortController().signal);
});

test('a released key is unsubscribed from at once, or when what it stood for is gone', async (t) => {
  const { server, client } = await start(t, onDemand);
  const stream = await server.stream();
  await stream.request();
  const { signal } = new AbortController();
  const asked = [client.demand(A, 'n/1', signal), client.demand(A, 'n/2', signal)];
  await stream.request();
  await stream.request();
  stream.respond({
    typeUrl: A,
    nonce: '1',
    resources: [makeResource(A, 'uid-1', '1', Buffer.from('x'), ['n/1'])],
    removedResources: ['n/2'],
  });
  await Promise.all(asked);
  await stream.request();
  client.release(A, 'n/1');
  client.release(A, 'n/2');
  t.deepEqual((await stream.request()).resourceNamesUnsubscribe, ['n/2']);
  stream.respond({ typeUrl: A, nonce: '2', removedResources: ['uid-1'] });
  t.deepEqual((await stream.request()).resourceNamesUnsubscribe, ['n/1']);
  t.is(client.status.demanded, 0);
});
