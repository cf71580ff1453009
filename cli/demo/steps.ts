import { explainConnection } from '../explain-connection.ts';
import { formatExplanation } from '../explain-text.ts';
import { textAt } from '../object-fields.ts';
import { leafCertificates, type ConfigDump } from '../ztunnel-tables.ts';
import { Capture, type Seen } from './capture.ts';
import { countTlsRecords, joinStreams } from './frames.ts';
import type { HeldConnection } from './held-connection.ts';
import { NAMESPACE, OUTSIDE, type DemoMesh } from './mesh.ts';
import type { Report } from './report.ts';
import type { Step } from './step.ts';
import { waypoint, WAYPOINT_STEPS } from './waypoint-steps.ts';

/** Where HBONE is accepted, as Istio has it. */
const HBONE_PORT = 15008;
const URL = `http://web.${NAMESPACE}/`;
const CLIENT_NODE = 'node-1';
const SERVER_NODE = 'node-2';
const PRINCIPAL = `spiffe://cluster.local/ns/${NAMESPACE}/sa`;

/** The lifetime of certificates in the demo: long enough to outlive a stopped control plane, short enough to watch. */
export const CERTIFICATE_LIFETIME = '30s';
const ROTATION_TIMEOUT_MS = 25_000;
const CLOSE_TIMEOUT_MS = 5_000;
const RETURN_TIMEOUT_MS = 15_000;

/** A text that occurs in one request and nowhere else. */
function newMarker(): string {
  return `marker-${crypto.randomUUID()}`;
}

/** Sends a marked request from the customer, with what was on the wire meanwhile. */
async function capturedRequest(
  mesh: DemoMesh,
): Promise<{ marker: string; output: string; code: number; seen: Seen }> {
  const { supervisorPid } = await mesh.sandbox.status();
  const capture = await Capture.start(supervisorPid);
  const marker = newMarker();
  try {
    const { code, output } = await mesh.client('customer', 'get', `${URL}?${marker}`);
    return { marker, output, code, seen: await capture.stop() };
  } catch (error) {
    await capture.stop();
    throw error;
  }
}

const unlabelled: Step = {
  title: '1. Not in the mesh: two pods on two nodes talk in plain text',
  async run(mesh, report) {
    const { marker, code, output, seen } = await capturedRequest(mesh);
    report.observe(
      code === 0 && output.includes(marker),
      `customer asked ${URL}?${marker.slice(0, 14)}...; exit code ${code}, answered by ${servedBy(output)}`,
    );
    const readable = seen.frames.filter((frame) => frame.includes(marker)).length;
    report.observe(
      readable > 0,
      `${seen.frames.length} frames on the bridge; the marker is readable in ${readable} of them`,
    );
  },
};

const labelled: Step = {
  title: '2. The namespace gets its label, and nothing is restarted',
  async run(mesh, report) {
    const before = await podsOf(mesh);
    await mesh.sandbox.post('/v1/label', {
      object: { kind: 'Namespace', name: NAMESPACE },
      labels: { 'istio.io/dataplane-mode': 'ambient' },
    });
    await mesh.settle();
    const after = await podsOf(mesh);
    const same =
      JSON.stringify(before.map(identityOfPod)) === JSON.stringify(after.map(identityOfPod));
    const enrolled = after.filter((pod) => pod.enrolment === 'enabled').length;
    report.observe(
      same && enrolled === after.length,
      `${enrolled} of ${after.length} pods are in the mesh; same processes as before: ${same ? 'yes' : 'no'}`,
    );

    const { marker, code, output, seen } = await capturedRequest(mesh);
    report.observe(
      code === 0 && output.includes(marker),
      `the same request from the same pod; exit code ${code}, answered by ${servedBy(output)}`,
    );
    const readable = seen.frames.filter((frame) => frame.includes(marker)).length;
    report.observe(
      readable === 0,
      `the marker is readable in ${readable} of ${seen.frames.length} frames`,
    );
    observeTls(await podAddresses(mesh), seen, report);
    await observeAccessLog(mesh, report);
  },
};

function observeTls(pods: ReadonlySet<string>, seen: Seen, report: Report): void {
  const between = seen.segments.filter(
    ({ source, destination, payload }) =>
      payload.length > 0 && pods.has(source.ip) && pods.has(destination.ip),
  );
  const ports = new Set(
    between.map(({ source, destination }) => Math.min(source.port, destination.port)),
  );
  const streams = joinStreams(between);
  const records = streams.map(countTlsRecords);
  const bytes = streams.reduce((sum, stream) => sum + stream.length, 0);
  const allTls = records.length > 0 && records.every((count) => count !== undefined);
  const count = records.reduce<number>((sum, one) => sum + (one ?? 0), 0);
  report.observe(
    allTls && ports.size === 1 && ports.has(HBONE_PORT),
    `between pods: ${bytes} bytes on port ${[...ports].join(', ')}, ${allTls ? `all of it TLS (${count} records)` : 'not all of it TLS'}`,
  );
}

async function observeAccessLog(mesh: DemoMesh, report: Report): Promise<void> {
  for (const node of [CLIENT_NODE, SERVER_NODE]) {
    const line = await mesh.until(async () => {
      const lines = await mesh.accessLog(node);
      return lines.findLast((one) => textAt(one, 'dst.identity') !== '');
    }, CLOSE_TIMEOUT_MS);
    const [source, destination] = [textAt(line, 'src.identity'), textAt(line, 'dst.identity')];
    report.observe(
      source === `${PRINCIPAL}/customer` && destination === `${PRINCIPAL}/web`,
      `access log of ${node}: ${textAt(line, 'direction')} ${source || '(none)'} -> ${destination || '(none)'}`,
    );
  }
}

const policies: Step = {
  title: '3. Policies by identity',
  async run(mesh, report) {
    await mesh.apply('deny-thief.yaml');
    await observeRequests(mesh, report, 'with DENY for thief', {
      customer: true,
      visitor: true,
      thief: false,
    });
    await explain(mesh, report, 'thief', 'deny-thief');
    await mesh.apply('allow-customer.yaml');
    await observeRequests(mesh, report, 'and ALLOW for customer', {
      customer: true,
      visitor: false,
      thief: false,
    });
    await explain(mesh, report, 'visitor', 'allow-customer');
  },
};

async function observeRequests(
  mesh: DemoMesh,
  report: Report,
  situation: string,
  expected: Readonly<Record<string, boolean>>,
): Promise<void> {
  for (const [pod, allowed] of Object.entries(expected)) {
    const { code, error } = await mesh.client(pod, 'get', URL);
    const seen = code === 0 ? 'is answered' : `is refused (${error})`;
    report.observe((code === 0) === allowed, `${situation}: ${pod} ${seen}`);
  }
}

async function explain(mesh: DemoMesh, report: Report, pod: string, policy: string): Promise<void> {
  const [source, destination] = [`${NAMESPACE}/${pod}`, `web.${NAMESPACE}:80`];
  const explanation = await explainConnection(mesh.sandbox, source, destination);
  const text = formatExplanation(report.plain, explanation);
  report.quote(`$ halo explain ${source} ${destination}\n${text}`);
  report.observe(
    !explanation.allowed && text.includes(`${NAMESPACE}/${policy}`),
    `halo explain names ${NAMESPACE}/${policy}`,
  );
}

const revocation: Step = {
  title: '4. A policy change closes an open connection that it forbids',
  async run(mesh, report) {
    using held = await mesh.hold('customer');
    const works = await held.say(newMarker());
    report.observe(
      works,
      `a connection from customer to web port 9000 is ${works ? 'open and answers' : `not open (${held.ended ?? 'no answer'})`}`,
    );
    const startedMs = performance.now();
    await mesh.apply('deny-echo.yaml');
    const end = await held.end(CLOSE_TIMEOUT_MS);
    const elapsedMs = Math.round(performance.now() - startedMs);
    report.observe(
      end !== undefined,
      end === undefined
        ? `it is still open ${elapsedMs} ms after the policy was applied`
        : `it was closed within ${elapsedMs} ms of applying deny-echo (${end})`,
    );
    const { code } = await mesh.client('customer', 'get', URL);
    report.observe(
      code === 0,
      `port 80, which the policy does not name, ${code === 0 ? 'still answers' : 'does not answer'}`,
    );
    await mesh.deletePolicy('deny-echo');
    using again = await mesh.hold('customer');
    const back = await again.say(newMarker());
    report.observe(
      back,
      `without the policy, port 9000 ${back ? 'answers again' : 'does not answer'}`,
    );
  },
};

const rotation: Step = {
  title: `5. Certificates are rotated under an open connection (they live ${CERTIFICATE_LIFETIME} here)`,
  async run(mesh, report) {
    const address = await mesh.addressOf('web');
    const shown = async (): Promise<string | undefined> => {
      const { code, output } = await mesh.client(
        OUTSIDE,
        'certificate',
        address,
        String(HBONE_PORT),
      );
      return code === 0 ? output.split(' ')[0] : undefined;
    };
    const before = await shown();
    using held = await mesh.hold('customer');
    const works = await held.say(newMarker());
    report.observe(
      before !== undefined && works,
      `a new connection is shown serial ${before ?? '(none)'}; a held one ${works ? 'moves bytes' : 'does not move bytes'}`,
    );
    const after = await mesh.until(async () => {
      const serial = await shown();
      return serial === before ? undefined : serial;
    }, ROTATION_TIMEOUT_MS);
    report.observe(
      after !== undefined && before !== undefined,
      after === undefined
        ? 'no new serial came'
        : `later, a new connection is shown serial ${after}`,
    );
    const held2 = await held.say(newMarker());
    report.observe(
      held2,
      `the held connection ${held2 ? 'still moves bytes' : `ended (${held.ended ?? 'no answer'})`}`,
    );
    const dump = (await mesh.adminPage(SERVER_NODE, '/config_dump')) as ConfigDump;
    const leaf = leafCertificates(dump).find(({ identity }) => identity === `${PRINCIPAL}/web`);
    report.observe(
      leaf?.state === 'Available',
      `ztunnel of ${SERVER_NODE} holds it until ${leaf?.notAfter ?? '(nothing)'}`,
    );
  },
};

const outage: Step = {
  title: '7. The control plane is stopped',
  async run(mesh, report) {
    using held = await mesh.hold('customer');
    const before = await held.say(newMarker());
    await mesh.part('istiod-lite', 'stop');
    const state = await partState(mesh, 'istiod-lite');
    report.observe(state === 'stopped', `istiod-lite is ${state}`);
    await observeOutage(mesh, report, held, before);
    await mesh.part('istiod-lite', 'start');
    await mesh.sandbox.wait('ready', RETURN_TIMEOUT_MS);
    const back = await partState(mesh, 'istiod-lite');
    report.observe(back === 'ready', `started again, istiod-lite is ${back}`);
  },
};

async function observeOutage(
  mesh: DemoMesh,
  report: Report,
  held: HeldConnection,
  before: boolean,
): Promise<void> {
  const old = await held.say(newMarker());
  report.observe(
    before && old,
    `a connection from before ${old ? 'still moves bytes' : `ended (${held.ended ?? 'no answer'})`}`,
  );
  using fresh = await mesh.hold('customer');
  const works = await fresh.say(newMarker());
  report.observe(
    works,
    `a new connection ${works ? 'moves bytes' : `fails (${fresh.ended ?? 'no answer'})`}`,
  );
  const { code, error } = await mesh.client('thief', 'get', URL);
  report.observe(
    code !== 0,
    `policy still holds: thief is ${code === 0 ? 'answered' : `refused (${error})`}`,
  );
}

/** Everything but the end, which demo.ts does itself so that it happens always. */
export const STEPS: readonly Step[] = [
  unlabelled,
  labelled,
  policies,
  revocation,
  rotation,
  waypoint,
  outage,
  ...WAYPOINT_STEPS,
];

type PodLine = Awaited<ReturnType<DemoMesh['sandbox']['status']>>['pods'][number];

async function podsOf(mesh: DemoMesh): Promise<PodLine[]> {
  const { pods } = await mesh.sandbox.status();
  return pods.filter((pod) => pod.namespace === NAMESPACE);
}

/** What changes when a pod, or a container in it, is started anew. */
function identityOfPod({ uid, restarts, startedAt }: PodLine): unknown {
  return { uid, restarts, startedAt };
}

async function podAddresses(mesh: DemoMesh): Promise<Set<string>> {
  return new Set((await podsOf(mesh)).flatMap((pod) => pod.addresses));
}

async function partState(mesh: DemoMesh, name: string): Promise<string> {
  const { parts } = await mesh.sandbox.status();
  return parts.find((part) => part.name === name)?.state ?? 'unknown';
}

function servedBy(output: string): string {
  return /^served-by: (\S+)$/m.exec(output)?.[1] ?? '(nobody)';
}
