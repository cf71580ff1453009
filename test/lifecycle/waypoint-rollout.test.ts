import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { numberAt } from '../../cli/object-fields.ts';
import { startMesh } from '../support/mesh.ts';
import { waypointPods, waypointReady, waypointYaml } from '../support/mesh-waypoints.ts';
import { namespaceYaml, podYaml, waypointServiceYaml } from '../support/mesh-yaml.ts';
import { sized } from './full-size.ts';
import {
  RequestLoad,
  SERVER_IMAGE,
  type LongEnd,
  type RequestKind,
  type RequestLoadLine,
} from './requests/load.ts';

/*
 * Nothing is lost while waypoints, and what is behind them, come and go under load; and what is, when one dies, is what was
 * on it at that moment.
 */

/** How long what is open may go on in a waypoint that is to end. */
const DEADLINE_MS = 3000;
/** Between what the sandbox decides, what a waypoint does and what a client sees. */
const LATE_MS = 2000;
const WAYPOINTS = 2;
const ENDPOINTS = 3;
/** Requests that are under way at once, at the most: see load-program.ts. */
const UNDER_WAY = 14;
/** Of each of the first three tests. */
const ROUNDS = sized(20, 1);
const ROUND_LIMIT_MS = 60_000;

const server = `---\n${JSON.stringify({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', namespace: 'shop' },
  spec: {
    replicas: ENDPOINTS,
    selector: { matchLabels: { app: 'web' } },
    template: {
      metadata: { labels: { app: 'web' } },
      spec: {
        terminationGracePeriodSeconds: 4,
        containers: [
          {
            ...{ name: 'web', image: 'test/request-server' },
            env: [{ name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
            readinessProbe: { tcpSocket: { port: 7070 } },
            // Until all who send to it know that it goes, as every server behind a balancer needs it.
            lifecycle: { preStop: { sleep: { seconds: 1 } } },
          },
        ],
      },
    },
  },
})}\n`;

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    podYaml('client', { node: 'node-1' }),
    server,
    waypointServiceYaml('web', {
      morePorts: [{ name: 'grpc', port: 7070, appProtocol: 'kubernetes.io/h2c' }],
    }),
    waypointYaml('waypoint'),
  ].join(''),
  settings: {
    images: SERVER_IMAGE,
    partEnvironment: { waypoint: { CONNECTION_TERMINATION_DEADLINE: `${DEADLINE_MS}ms` } },
  },
});

test.before('the waypoint runs', async () => {
  await scale('waypoint', WAYPOINTS);
  await waypointReady(mesh, 'waypoint', { replicas: WAYPOINTS });
});

/** The pods of a Deployment that are there, going or not. */
async function podsOf(deployment: string): Promise<readonly string[]> {
  const { pods } = await mesh.sandbox.status();
  return pods.map(({ name }) => name).filter((name) => name.startsWith(`${deployment}-`));
}

async function scale(name: string, replicas: number): Promise<void> {
  await mesh.sandbox.post('/v1/scale', { namespace: 'shop', name, replicas });
  await mesh.watch(
    'Deployment',
    ({ metadata, ...object }) =>
      metadata.name === name && numberAt(object, 'status', 'readyReplicas') === replicas,
    `${replicas} replicas of ${name}`,
  );
  while ((await podsOf(name)).length > replicas) await delay(100);
  await mesh.settled();
}

/** Replaces all pods, and waits until the old ones have gone. */
async function restart(name: string): Promise<void> {
  const old = await podsOf(name);
  await mesh.sandbox.post('/v1/restart', { namespace: 'shop', name });
  while ((await podsOf(name)).some((pod) => old.includes(pod))) await delay(100);
  await mesh.settled();
}

/** What came of the load while something was done so often, and a little longer. */
async function under(action: () => Promise<void>, rounds = 1): Promise<RequestLoadLine> {
  const load = await RequestLoad.start(mesh, 'client', 'web.shop');
  for (let round = 0; round < rounds; round++) await action();
  const before = await load.next();
  for (let line = before; isStanding(line, before); ) line = await load.next();
  return await load.end();
}

/** One kind of load has not moved since. */
function isStanding({ done }: RequestLoadLine, before: RequestLoadLine): boolean {
  return Object.entries(before.done).some(([kind, count]) => done[kind as RequestKind] <= count);
}

/** Nobody may take it for the end that the other side meant. */
function isCut({ kind, how }: LongEnd): boolean {
  return kind === 'stream' ? !how.startsWith('ended with status') : how === 'closed with 1006';
}

function summary({ done, longEnds }: RequestLoadLine): string {
  return `${JSON.stringify(done)}; ${longEnds.length} long ones ended`;
}

test.serial(
  'waypoints are replaced under load: no request is lost, long ones have until the deadline',
  async (t) => {
    const begunMs = Date.now();
    t.timeout(ROUNDS * ROUND_LIMIT_MS);
    const line = await under(() => restart('waypoint'), ROUNDS);
    t.log(summary(line));
    t.deepEqual(line.failures, []);
    // Each of them was in a waypoint that is gone.
    t.true(line.longEnds.length >= 8, summary(line));
    t.deepEqual(
      line.longEnds.filter((end) => !isCut(end)),
      [],
    );
    const early = line.longEnds.filter(
      ({ kind, endedAtMs, toldAtMs }) =>
        endedAtMs - (kind === 'stream' ? (toldAtMs ?? Infinity) : begunMs) < DEADLINE_MS - LATE_MS,
    );
    t.deepEqual(early, [], 'GOAWAY comes at the beginning of the time that is left');
  },
);

test.serial('waypoints become more and fewer under load: no request is lost', async (t) => {
  t.timeout(ROUNDS * ROUND_LIMIT_MS);
  const line = await under(async () => {
    await scale('waypoint', WAYPOINTS + 1);
    await scale('waypoint', 1);
    await scale('waypoint', WAYPOINTS);
  }, ROUNDS);
  t.log(summary(line));
  t.deepEqual(line.failures, []);
  t.deepEqual(
    line.longEnds.filter((end) => !isCut(end)),
    [],
  );
});

test.serial(
  'the endpoints behind a waypoint are replaced, become fewer and more under load: no request is lost',
  async (t) => {
    t.timeout(ROUNDS * ROUND_LIMIT_MS);
    const line = await under(async () => {
      await restart('web');
      await scale('web', 1);
      await scale('web', ENDPOINTS);
    }, ROUNDS);
    t.log(summary(line));
    t.deepEqual(line.failures, []);
  },
);

test.serial(
  'a waypoint is killed under load: only what was on it is lost, and nobody waits',
  async (t) => {
    let killedMs = 0;
    const line = await under(async () => {
      const [pod = ''] = await waypointPods(mesh, 'waypoint');
      killedMs = Date.now();
      await mesh.kill(pod);
      await waypointReady(mesh, 'waypoint', { replicas: WAYPOINTS });
    });
    t.log(summary(line), JSON.stringify(line.failures));
    t.true(line.failures.length <= UNDER_WAY, JSON.stringify(line.failures));
    t.deepEqual(
      line.failures.filter(({ atMs }) => atMs > killedMs + LATE_MS),
      [],
    );
  },
);

test.serial(
  'an endpoint is killed under load: what may be repeated is, and its client sees nothing of it',
  async (t) => {
    let killedMs = 0;
    const line = await under(async () => {
      const [pod = ''] = await podsOf('web');
      killedMs = Date.now();
      await mesh.kill(`shop/${pod}`);
      await scale('web', ENDPOINTS);
    });
    t.log(summary(line), JSON.stringify(line.failures));
    t.deepEqual(
      line.failures.filter(({ what }) => what.startsWith('GET')),
      [],
    );
    t.true(line.failures.length <= UNDER_WAY, JSON.stringify(line.failures));
    t.deepEqual(
      line.failures.filter(({ atMs }) => atMs > killedMs + LATE_MS),
      [],
    );
  },
);
