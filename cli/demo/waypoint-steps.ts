import { setTimeout as delay } from 'node:timers/promises';
import { explainConnection } from '../explain-connection.ts';
import { formatExplanation, type Explanation } from '../explain-text.ts';
import { textAt } from '../object-fields.ts';
import { NAMESPACE, type DemoMesh } from './mesh.ts';
import type { Report } from './report.ts';
import type { Step } from './step.ts';

const WAYPOINT_TIMEOUT_MS = 20_000;
const CLIENT_NODE = 'node-1';
const SERVER_NODE = 'node-2';
const PRINCIPAL = `spiffe://cluster.local/ns/${NAMESPACE}/sa`;

const CATALOG = `http://catalog.${NAMESPACE}/`;
const CANARY_REQUESTS = 1000;

export const waypoint: Step = {
  title: '6. A Gateway gives one service a waypoint, which decides about requests',
  async run(mesh, report) {
    const begunMs = performance.now();
    await mesh.apply('waypoint.yaml');
    const served = await mesh.until(async () => {
      const { code } = await mesh.client('customer', 'get', CATALOG);
      return code === 0 ? true : undefined;
    }, WAYPOINT_TIMEOUT_MS);
    const seconds = ((performance.now() - begunMs) / 1000).toFixed(1);
    report.observe(
      served === true,
      `two pods, a Gateway, an HTTPRoute and a policy were applied; served through the waypoint after ${seconds} s`,
    );
    const shares = await mesh.client('customer', 'spread', CATALOG, String(CANARY_REQUESTS));
    const two = countOf(shares.output, '200 catalog-two');
    report.observe(
      countOf(shares.output, '200 catalog-one') + two === CANARY_REQUESTS && two > 50 && two < 150,
      `of ${CANARY_REQUESTS} requests, version two with its weight of 10 % has answered ${two}`,
    );
    const chosen = await mesh.client('customer', 'spread', CATALOG, '20', 'x-version:two');
    report.observe(
      countOf(chosen.output, '200 catalog-two') === 20,
      `with the header x-version: two, of 20 requests it has answered ${countOf(chosen.output, '200 catalog-two')}`,
    );
    const hidden = await mesh.client('customer', 'spread', `${CATALOG}%70rivate`, '5');
    report.observe(
      countOf(hidden.output, '403 -') === 5,
      `/%70rivate is /private, which policy no-private denies: ${countOf(hidden.output, '403 -')} of 5 got 403`,
    );
  },
};

/** How many of the answers that `spread` counted are of that kind. */
function countOf(output: string, kind: string): number {
  for (const line of output.split('\n')) {
    const [, times = '0', what] = /^(\d+) (.*)$/.exec(line) ?? [];
    if (what === kind) return Number(times);
  }
  return 0;
}

/** Whether a URL is answered within the time that a waypoint may take to start. */
async function isServed(mesh: DemoMesh, url: string): Promise<boolean> {
  const served = await mesh.until(async () => {
    const { code } = await mesh.client('customer', 'get', url);
    return code === 0 ? true : undefined;
  }, WAYPOINT_TIMEOUT_MS);
  return served === true;
}

const STOCK = `http://stock.${NAMESPACE}/`;

const account: Step = {
  title: '8. A service account gets a waypoint: what its pods serve goes through that',
  async run(mesh, report) {
    await mesh.apply('account-waypoint.yaml');
    const served = await isServed(mesh, STOCK);
    report.observe(served, `customer ${served ? 'is answered by' : 'gets no answer of'} stock`);
    const [byService, byPod] = [STOCK, `http://${await mesh.addressOf('stock')}:8080/`];
    for (const url of [byService, byPod]) {
      const { code } = await mesh.client('customer', 'get', url);
      const line = await lastArrival(mesh, 'stock');
      const source = textAt(line, 'src.identity');
      report.observe(
        code === 0 && source === `${PRINCIPAL}/stock-waypoint`,
        `asked at ${url}, the pod was called by ${source}`,
      );
    }
  },
};

/** The last connection that came to a pod, as its node's ztunnel tells of it. */
async function lastArrival(
  mesh: DemoMesh,
  pod: string,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  return mesh.until(async () => {
    const lines = await mesh.accessLog(SERVER_NODE);
    return lines.findLast(
      (line) => textAt(line, 'direction') === 'inbound' && textAt(line, 'dst.workload') === pod,
    );
  }, WAYPOINT_TIMEOUT_MS);
}

const PARTS = `http://parts.${NAMESPACE}/`;
const PARTS_REQUESTS = 200;

const ejection: Step = {
  title: '9. An endpoint fails, gets no more requests, and is taken back when it is well',
  async run(mesh, report) {
    await mesh.apply('ejection.yaml');
    await isServed(mesh, PARTS);
    await tellPart(mesh, 'always=503');
    const failing = await mesh.client('customer', 'spread', PARTS, String(PARTS_REQUESTS));
    const failed = countOf(failing.output, '503 parts-two');
    report.observe(
      failed >= 3 && failed <= 6 && countOf(failing.output, '200 parts-one') > 0,
      `parts-two answers 503 to everything: ${failed} of ${PARTS_REQUESTS} requests met that, then it was ejected`,
    );
    const { explanation, text } = await explain(mesh, report, `parts.${NAMESPACE}:80`, '/');
    report.quote(text);
    const states = explanation.waypoint?.backends.flatMap(({ endpoints }) => endpoints) ?? [];
    const state = states.find(({ workload }) => workload.endsWith('/parts-two'))?.state ?? '(none)';
    report.observe(state.startsWith('ejected'), `halo explain says of parts-two: ${state}`);
    await tellPart(mesh, 'always=200');
    const back = await mesh.until(async () => {
      const { output } = await mesh.client('customer', 'spread', PARTS, '20');
      return countOf(output, '200 parts-two') > 0 ? output : undefined;
    }, WAYPOINT_TIMEOUT_MS);
    report.observe(
      back !== undefined,
      back === undefined
        ? 'parts-two got no requests again'
        : `well again, parts-two, the nearer one, has answered ${countOf(back, '200 parts-two')} of 20 requests`,
    );
  },
};

/** Tells the pod parts-two, at its own address, how to answer from now on. */
async function tellPart(mesh: DemoMesh, how: string): Promise<void> {
  await mesh.client('customer', 'get', `http://${await mesh.addressOf('parts-two')}:8080/?${how}`);
}

const retries: Step = {
  title: '10. Retries hide an endpoint that fails now and then',
  async run(mesh, report) {
    await tellPart(mesh, 'always=503&every=2');
    const seen = async (): Promise<number> => {
      const { output } = await mesh.client('customer', 'spread', PARTS, '100');
      return countOf(output, '503 parts-two');
    };
    const before = await seen();
    report.observe(
      before > 0,
      `parts-two fails every second request: its client sees ${before} of 100 fail`,
    );
    await mesh.apply('retries.yaml');
    const after = await seen();
    report.observe(
      after === 0,
      `with retries in the HTTPRoute, its client sees ${after} of 100 fail`,
    );
    await tellPart(mesh, 'always=200');
  },
};

const denied: Step = {
  title: '11. halo explain tells what a waypoint does with a request, and why',
  async run(mesh, report) {
    const { explanation, text } = await explain(
      mesh,
      report,
      `catalog.${NAMESPACE}:80`,
      '/private',
    );
    report.quote(text);
    report.observe(
      !explanation.allowed && text.includes(`${NAMESPACE}/no-private`),
      `halo explain names ${NAMESPACE}/no-private`,
    );
  },
};

async function explain(
  mesh: DemoMesh,
  report: Report,
  destination: string,
  path: string,
): Promise<Readonly<{ explanation: Explanation; text: string }>> {
  const source = `${NAMESPACE}/customer`;
  const request = { method: 'GET', path, headers: [] };
  const explanation = await explainConnection(mesh.sandbox, source, destination, undefined, {
    request,
  });
  const story = formatExplanation(report.plain, explanation);
  // The hops below it were shown before.
  const last = story.slice(story.indexOf('Waypoint '));
  const text = `$ halo explain ${source} ${destination} --path ${path}\n[...]\n${last}`;
  return { explanation, text };
}

const rateLimit: Step = {
  title: '12. A rate limit by identity: five requests an hour',
  async run(mesh, report) {
    await mesh.apply('rate-limit.yaml');
    for (const pod of ['customer', 'visitor']) {
      const { output } = await mesh.client(pod, 'spread', PARTS, '8');
      const allowed = countOf(output, '200 parts-one') + countOf(output, '200 parts-two');
      const refused = countOf(output, '429 -');
      report.observe(
        allowed === 5 && refused === 3,
        `of 8 requests of ${pod}, ${allowed} were answered and ${refused} got 429`,
      );
    }
  },
};

const LOAD_SECONDS = 4;
const KILL_AFTER_MS = 1500;
/** Each of the load's callers has one request under way. */
const CALLERS = 8;

const killed: Step = {
  title: '13. A waypoint is killed under load',
  async run(mesh, report) {
    await mesh.scale('waypoint', 2);
    const pods = await waypointsOf(mesh);
    report.observe(
      pods.length === 2,
      `the waypoint has ${pods.length} replicas: ${pods.join(', ')}`,
    );
    const load = mesh.client('customer', 'load', CATALOG, String(LOAD_SECONDS));
    await delay(KILL_AFTER_MS);
    const [first = ''] = pods; // the one on the client's node, which its requests go through
    await mesh.kill(first);
    const { code, output } = await load;
    const [answered, broken] = [countOf(output, '200'), countOf(output, 'broken')];
    const again = countOf(output, 'again 200');
    report.observe(
      code === 0 && answered > 0 && broken <= CALLERS && again === broken,
      `${first} was killed: ${answered} requests were answered with 200, ${broken} that were on it broke; asked again, ${again} of these were answered`,
    );
    const kinds = output.split('\n').length;
    report.observe(kinds === (broken > 0 ? 3 : 1), 'no client saw anything else');
    const restarted = await mesh.until(async () => {
      const { pods: all } = await mesh.sandbox.status();
      return all.find((pod) => pod.name === first && pod.ready && pod.restarts === 1);
    }, WAYPOINT_TIMEOUT_MS);
    report.observe(restarted !== undefined, `${first} was started again`);
  },
};

/** The pods of the waypoint, that on the client's node first. */
async function waypointsOf(mesh: DemoMesh): Promise<readonly string[]> {
  const { pods } = await mesh.sandbox.status();
  return pods
    .filter((pod) => pod.namespace === NAMESPACE && pod.serviceAccount === 'waypoint')
    .sort((a, b) => Number(b.node === CLIENT_NODE) - Number(a.node === CLIENT_NODE))
    .map(({ name }) => name);
}

/** What waypoints do, after the control plane is back. */
export const WAYPOINT_STEPS: readonly Step[] = [
  account,
  ejection,
  retries,
  denied,
  rateLimit,
  killed,
];
