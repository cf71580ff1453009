import test from 'ava';
import { conditionOf, listAt, numberAt, textAt } from '../../cli/object-fields.ts';
import { Metrics } from '../support/mesh-metrics.ts';
import type { AccessRecord } from '../support/mesh-records.ts';
import { startMesh } from '../support/mesh.ts';
import { waypointPods, waypointReady, waypointYaml } from '../support/mesh-waypoints.ts';
import { AMBIENT, namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';

const IDENTITY = 'spiffe://cluster.local/ns/shop/sa/waypoint';
const USE = { 'istio.io/use-waypoint': 'waypoint' };
const USE_SHOPS = { ...USE, 'istio.io/use-waypoint-namespace': 'shop' };
const WEB = serviceYaml('web', { 80: 80 }, {}, 'shop', USE);

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    namespaceYaml('guest', { ...AMBIENT, tier: 'gold' }),
    podYaml('web', { node: 'node-2' }),
    podYaml('client', { node: 'node-1' }),
    podYaml('cart', { namespace: 'guest', node: 'node-1' }),
    WEB,
    podYaml('pair-a', { node: 'node-2', labels: { app: 'pair' } }),
    podYaml('pair-b', { node: 'node-2', labels: { app: 'pair' } }),
    serviceYaml('pair', { 80: 80 }, {}, 'shop', USE),
    serviceYaml('cart', { 80: 80 }, {}, 'guest', USE_SHOPS),
  ].join(''),
});

test.before('the servers listen', async () => {
  for (const pod of ['web', 'pair-a', 'guest/cart']) await (await mesh.peer(pod)).listen(80);
});

/** Whose identity the server's proxy sees in a connection to a Service; '' where none came. */
async function callerOf(service: string, namespace = 'shop'): Promise<string> {
  const client = await mesh.peer('client');
  const mark = mesh.mark();
  const { text } = await client.say(await mesh.vip(service, 4, namespace), 80, 'hello');
  if (text === '') return '';
  const arrived = { direction: 'inbound', 'dst.workload': service, bytes_recv: 5 } as const;
  return String((await mesh.record(arrived, mark))['src.identity']);
}

/** Waits until a Service's status says that of its waypoint: it is written a moment after it holds. */
async function bound(service: string, wanted: string): Promise<void> {
  await mesh.watch(
    'Service',
    ({ metadata, ...object }) =>
      metadata.name === service && bindingOf(object) === `istio.io/WaypointBound ${wanted}`,
    `Service ${service}: WaypointBound is ${wanted}`,
  );
}

function bindingOf(object: unknown): string {
  return listAt(object, 'status', 'conditions')
    .map((one) => `${textAt(one, 'type')} ${textAt(one, 'status')} ${textAt(one, 'reason')}`)
    .join(', ');
}

test.serial(
  'a Gateway becomes a waypoint with an address, and what it is for goes through',
  async (t) => {
    t.is(await callerOf('web'), '', 'the waypoint that the Service names does not exist yet');
    await mesh.apply(waypointYaml('waypoint'));
    const gateway = await waypointReady(mesh, 'waypoint');
    t.deepEqual(
      listAt(gateway, 'status', 'addresses').map((address) => textAt(address, 'value')),
      [
        `waypoint.shop.svc.cluster.local`,
        await mesh.vip('waypoint'),
        await mesh.vip('waypoint', 6),
      ],
    );
    t.is(conditionOf(gateway, 'Accepted'), 'True');
    const [listener] = listAt(gateway, 'status', 'listeners');
    t.is(textAt(listener, 'name'), 'mesh');
    const found = await mesh.sandbox.objects({ kind: 'GatewayClass', name: 'istio-waypoint' });
    t.is(found.map(bindingOf).join(), 'Accepted True Accepted');
    const deployment = await mesh.object('Deployment', 'waypoint');
    t.is(textAt(deployment.metadata.ownerReferences?.[0], 'uid'), gateway.metadata.uid ?? '');
    t.is(await callerOf('web'), IDENTITY);
  },
);

test.serial(
  'a waypoint writes one record and counts each connection, as the waypoint',
  async (t) => {
    const [pod = ''] = await waypointPods(mesh, 'waypoint');
    t.is(await callerOf('web'), IDENTITY);
    const [record] = (await recordsOf(pod)).slice(-1);
    t.like(record, {
      direction: 'inbound',
      'src.identity': 'spiffe://cluster.local/ns/shop/sa/client',
      'dst.service': 'web.shop.svc.cluster.local',
      'dst.identity': 'spiffe://cluster.local/ns/shop/sa/web',
      ...{ bytes_recv: 5, bytes_sent: 5, error: undefined },
    });
    const fetchMetrics = `console.log(await (await fetch('http://127.0.0.1:15020/metrics')).text())`;
    const { stdout } = await mesh.exec(pod, ['node', '--input-type=module', '-e', fetchMetrics]);
    const metrics = new Metrics(stdout);
    const labels = { reporter: 'waypoint', source_workload: 'client', destination_workload: 'web' };
    t.true(metrics.sum('istio_tcp_connections_opened_total', labels) >= 1);
  },
);

test.serial(
  'an endpoint that does not answer is passed over before any byte is sent',
  async (t) => {
    const [client, vip] = [await mesh.peer('client'), await mesh.vip('pair')];
    const mark = mesh.mark();
    for (let call = 0; call < 20; call++)
      t.like(await client.say(vip, 80, 'hello'), { text: 'hello', ended: 'end' });
    // Half of the choices fell on it.
    const refused = {
      direction: 'inbound',
      'dst.workload': 'pair-b',
      error: /ECONNREFUSED/,
    } as const;
    t.is((await mesh.record(refused, mark))['src.identity'], IDENTITY);
  },
);

test.serial('a waypoint is no way to what does not use it', async (t) => {
  const [pod = ''] = await waypointPods(mesh, 'waypoint');
  // The Service of the guests names it, and it does not allow their namespace yet.
  t.is(await callerOf('cart', 'guest'), '');
  t.is((await recordsOf(pod)).filter((one) => one['dst.workload'] === 'cart').length, 0);
});

test.serial('allowedRoutes say which namespaces may use a waypoint', async (t) => {
  const namespaces = [
    { from: 'Same', allowed: false },
    { from: 'All', allowed: true },
    { from: 'Selector', selector: { matchLabels: { tier: 'silver' } }, allowed: false },
    { from: 'Selector', selector: { matchLabels: { tier: 'gold' } }, allowed: true },
  ];
  for (const { allowed, ...rule } of namespaces) {
    const label = JSON.stringify(rule);
    await mesh.apply(waypointYaml('waypoint', { namespaces: rule }));
    t.is(await callerOf('cart', 'guest'), allowed ? IDENTITY : '', label);
    await bound('cart', allowed ? 'True WaypointAccepted' : 'False AttachmentDenied');
  }
});

test.serial(
  'with a replica killed under load, the others carry on, and nothing goes past them',
  async (t) => {
    await mesh.apply(waypointYaml('waypoint'));
    await mesh.sandbox.post('/v1/scale', { namespace: 'shop', name: 'waypoint', replicas: 2 });
    await waypointReady(mesh, 'waypoint', { replicas: 2 });
    await using load = new Load('web');
    await load.more(20);
    t.deepEqual(load.failures, []);
    const mark = mesh.mark();
    const used = await mesh.record({ direction: 'inbound', 'dst.workload': 'web' }, 0);
    t.is(used['src.identity'], IDENTITY);

    for (const pod of await waypointPods(mesh, 'waypoint')) {
      await mesh.kill(pod);
      await load.more(40);
      await waypointReady(mesh, 'waypoint', { replicas: 2 });
    }
    await load.end();
    // What was open through the one that was killed is reset; whatever comes next finds the other one.
    t.true(load.failures.length <= 2 * Load.CALLERS, load.failures.join());
    const arrived = mesh
      .recordsSince(mark)
      .filter((one) => one.direction === 'inbound' && one['dst.workload'] === 'web');
    t.true(arrived.length >= 80);
    t.deepEqual([...new Set(arrived.map((one) => one['src.identity']))], [IDENTITY]);
  },
);

test.serial('a waypoint that is replaced loses no connection', async (t) => {
  const client = await mesh.peer('client');
  const open = await client.connect(await mesh.vip('web'), 80);
  t.true(await open.echo('before'));
  const before = await waypointPods(mesh, 'waypoint');
  await using load = new Load('web');
  await load.more(5);
  await mesh.sandbox.post('/v1/restart', { namespace: 'shop', name: 'waypoint' });
  await mesh.watch(
    'Deployment',
    ({ metadata, ...object }) =>
      metadata.name === 'waypoint' &&
      numberAt(object, 'status', 'readyReplicas') === 2 &&
      numberAt(object, 'status', 'updatedReplicas') === 2,
    'the waypoint is replaced',
  );
  await load.more(20);
  t.true(await open.echo('meanwhile'));
  await open.end();
  t.is((await open.ended()).how, 'end');
  await load.end();
  t.deepEqual(load.failures, []);
  await mesh.settled();
  const now = await waypointPods(mesh, 'waypoint');
  t.deepEqual(
    now.filter((pod) => before.includes(pod)),
    [],
  );
});

test.serial(
  'what runs a waypoint goes with its Gateway, and nothing goes past where it was',
  async (t) => {
    await mesh.delete('Gateway', 'waypoint');
    await mesh.settled();
    for (const kind of ['Deployment', 'Service', 'ServiceAccount'])
      await t.throwsAsync(mesh.object(kind, 'waypoint'), { message: /^no / }, kind);
    t.deepEqual(await waypointPods(mesh, 'waypoint'), []);
    t.is(await callerOf('web'), '');
    await bound('web', 'False WaypointIsNotReady');
  },
);

/** Short connections from a few callers, one after another each. */
class Load implements AsyncDisposable {
  static readonly CALLERS = 4;
  readonly failures: string[] = [];
  readonly #loops: Promise<void>[];
  #made = 0;
  #over = false;
  #wake: (() => void)[] = [];

  constructor(service: string) {
    this.#loops = Array.from({ length: Load.CALLERS }, () => this.#loop(service));
  }

  /** Waits until so many more have been made. */
  async more(count: number): Promise<void> {
    const wanted = this.#made + count;
    while (this.#made < wanted) await new Promise<void>((resolve) => this.#wake.push(resolve));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.end();
  }

  async end(): Promise<void> {
    this.#over = true;
    await Promise.all(this.#loops);
  }

  async #loop(service: string): Promise<void> {
    const [client, vip] = [await mesh.peer('client'), await mesh.vip(service)];
    while (!this.#over) {
      const { text, ended } = await client.say(vip, 80, 'hello');
      if (text !== 'hello' || ended !== 'end') this.failures.push(ended);
      this.#made++;
      for (const wake of this.#wake.splice(0)) wake();
    }
  }
}

/** The access log of a waypoint. */
async function recordsOf(pod: string): Promise<AccessRecord[]> {
  const [namespace = '', name = ''] = pod.split('/');
  let text = '';
  const take = (chunk: Uint8Array): void => {
    text += Buffer.from(chunk).toString();
  };
  await mesh.sandbox.stream('/v1/logs', { namespace, pod: name }, take, AbortSignal.timeout(5000));
  return text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as AccessRecord)
    .filter((line) => line['scope'] === 'access');
}
