import test from 'ava';
import type { KubernetesObject } from '../../deploy/sandbox/api.ts';
import { startMesh } from '../support/mesh.ts';
import type { Connection, Peer } from '../support/mesh-peer.ts';
import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    podYaml('client', { node: 'node-1' }),
    serviceYaml('web', { 80: 9000 }),
  ].join(''),
});

const SERVED = 9000;
/** Whoever listens on it is ready. */
const PROBED = 9100;
const PODS = ['web-1', 'web-2', 'web-3'];
/** So many calls leave out one of three by chance less than once in 10^7 times. */
const ENOUGH_CALLS = 40;

let client: Peer;
let vip = '';
test.serial.before('three pods stand behind one service', async () => {
  const probe = { tcpSocket: { port: PROBED }, periodSeconds: 1, failureThreshold: 1 };
  await mesh.applySoon(
    ...PODS.map((name, index) =>
      podYaml(name, {
        ...{ node: `node-${(index % 2) + 1}`, account: 'web', labels: { app: 'web' } },
        readinessProbe: probe,
      }),
    ),
  );
  for (const name of PODS) {
    const peer = await mesh.peer(name);
    await peer.listen(SERVED, 'echo', { greeting: name });
    await peer.listen(PROBED, 'drop');
  }
  await mesh.settled();
  client = await mesh.peer('client');
  vip = await mesh.vip('web');
});

/** Calls the service and says who answered; the connection is open. */
async function call(): Promise<{ by: string; connection: Connection }> {
  const connection = await client.connect(vip, 80);
  const { text, ended = '' } = await connection.read(5);
  return { by: text === '' ? ended : text, connection };
}

/** Calls the service so many times, each to its end and its records, and says who answered. */
async function callers(calls: number): Promise<Map<string, number>> {
  const mark = mesh.mark();
  const answers = new Map<string, number>();
  for (let left = calls; left > 0; left--) {
    const { by, connection } = await call();
    answers.set(by, (answers.get(by) ?? 0) + 1);
    if (!PODS.includes(by)) continue;
    await connection.end();
    await connection.ended();
  }
  for (const direction of ['outbound', 'inbound'])
    await mesh.records({ direction, error: undefined }, mark, calls);
  return answers;
}

/** The endpoints of the service's IPv4 slice by the pod they are. */
function isEndpointReady(slice: KubernetesObject, pod: string): boolean | undefined {
  const { endpoints = [] } = slice as KubernetesObject & {
    endpoints?: readonly { targetRef?: { name: string }; conditions: { ready: boolean } }[];
  };
  return endpoints.find(({ targetRef }) => targetRef?.name === pod)?.conditions.ready;
}

async function endpointIs(pod: string, ready: boolean): Promise<void> {
  const isIt = (slice: KubernetesObject): boolean => isEndpointReady(slice, pod) === ready;
  await mesh.watch('EndpointSlice', isIt, `${pod} is ${ready ? '' : 'not '}ready`);
  await mesh.pushed();
}

test.serial('a service is called on all of its endpoints', async (t) => {
  t.deepEqual([...(await callers(ENOUGH_CALLS)).keys()].sort(), PODS);
});

test.serial('an endpoint that is not ready is not called, until it is ready again', async (t) => {
  const unready = await mesh.peer('web-1');
  await unready.ask('unlisten', { port: PROBED });
  await endpointIs('web-1', false);
  const mark = mesh.mark();
  t.deepEqual([...(await callers(ENOUGH_CALLS)).keys()].sort(), ['web-2', 'web-3']);
  const records = await mesh.records({ direction: 'outbound' }, mark, ENOUGH_CALLS);
  t.true(records.every((record) => record['dst.workload'] !== 'web-1'));
  // By its own address it is called all the same.
  const direct = await client.connect(await mesh.ip('web-1'), SERVED);
  t.deepEqual(await direct.read(5), { text: 'web-1' });
  await direct.end();
  await unready.listen(PROBED, 'drop');
  await endpointIs('web-1', true);
  t.deepEqual([...(await callers(ENOUGH_CALLS)).keys()].sort(), PODS);
});

test.serial(
  'an endpoint that refuses is passed over, and the client does not notice',
  async (t) => {
    const refusing = await mesh.peer('web-3');
    await refusing.ask('unlisten', { port: SERVED });
    const mark = mesh.mark();
    const before = await mesh.metrics('node-1');
    t.deepEqual([...(await callers(ENOUGH_CALLS)).keys()].sort(), ['web-1', 'web-2']);
    // It was tried, and its own proxy says so.
    const refused = { direction: 'inbound', 'dst.workload': 'web-3', error: /ECONNREFUSED/ };
    await mesh.record(refused, mark);
    const outbound = await mesh.records({ direction: 'outbound' }, mark, ENOUGH_CALLS);
    t.true(outbound.every(({ error }) => error === undefined));
    const now = await mesh.metrics('node-1');
    const opened = { reporter: 'source', response_flags: '-' };
    t.is(now.growth(before, 'istio_tcp_connections_opened_total', opened), ENOUGH_CALLS);
  },
);

test.serial('a client sees a reset when every endpoint refuses', async (t) => {
  for (const name of ['web-1', 'web-2'])
    await (await mesh.peer(name)).ask('unlisten', { port: SERVED });
  const mark = mesh.mark();
  const { text, ended } = await client.say(vip, 80, 'anybody there?');
  t.is(text, '');
  t.is(ended, 'ECONNRESET');
  const record = await mesh.record({ direction: 'outbound', error: /./ }, mark);
  t.is(record.error, 'Cannot open a tunnel: http status: 503');
  t.is(record['dst.service'], 'web.shop.svc.cluster.local');
  t.is(
    (await mesh.records({ direction: 'inbound', error: /./ }, mark, PODS.length)).length,
    PODS.length,
  );
  for (const name of PODS) await (await mesh.peer(name)).listen(SERVED, 'echo', { greeting: name });
});

test.serial(
  'an endpoint that is removed keeps its open connection and gets no new one',
  async (t) => {
    const mark = mesh.mark();
    let held = await call();
    while (held.by !== 'web-2') {
      await held.connection.end();
      held = await call();
    }
    t.true(await held.connection.echo('before'));
    await mesh.label('shop/web-2', { app: 'something-else' });
    t.deepEqual([...(await callers(ENOUGH_CALLS)).keys()].sort(), ['web-1', 'web-3']);
    t.true(await held.connection.echo('after'));
    await held.connection.end();
    t.is((await held.connection.ended()).how, 'end');
    const record = await mesh.record({ direction: 'outbound', 'dst.workload': 'web-2' }, mark);
    t.like(record, { error: undefined, bytes_sent: 11, bytes_recv: 16 });
  },
);
