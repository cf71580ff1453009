import { OUTSIDE, type Mesh } from '../support/mesh.ts';
import type { Peer } from '../support/mesh-peer.ts';
import { policyYaml } from '../support/mesh-policies.ts';
import { waypointPods, waypointReady, waypointYaml } from '../support/mesh-waypoints.ts';
import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';
import type { Attempt, LoadReport, LoadTask } from '../support/tagged-load.ts';
import { TOPOLOGIES, WAYPOINT_TOPOLOGIES, type Topology } from './fault.ts';
import { FaultPlace } from './place.ts';

const PORT = 9000;
/** The same over HTTP, behind waypoints. */
const HTTP_PORT = 9002;
/** Of `near`, beside what the loads use: for crowds of connections without tags. */
export const ECHO_PORT = 9001;
/** Its address on the sandbox's network. */
const OUTSIDE_IP = '172.18.0.3';
/** Two processes that are no pods: a server may be killed while clients go on. */
export const OUTSIDE_SERVER = `${OUTSIDE}/server`;
const OUTSIDE_CLIENT = `${OUTSIDE}/client`;

/** Two clients of different accounts on one node, so that one's identity for the other's is seen; a third is refused. */
export const MESH_YAML = [
  namespaceYaml('shop'),
  podYaml('client', { node: 'node-1' }),
  podYaml('other', { node: 'node-1' }),
  podYaml('intruder', { node: 'node-1' }),
  podYaml('near', { node: 'node-1' }),
  podYaml('open', { node: 'node-1' }),
  podYaml('far', { node: 'node-2' }),
  serviceYaml('near', { 80: PORT }),
  serviceYaml('far', { 80: PORT }),
  ...['near', 'far'].map((app) =>
    policyYaml(`callers-of-${app}`, {
      selector: { matchLabels: { app } },
      action: 'ALLOW',
      rules: [{ from: [{ source: { principals: ['*/sa/client', '*/sa/other'] } }] }],
    }),
  ),
].join('');

/** The waypoints, each of which has one replica, by what is behind them. */
export const WAYPOINTS = ['gate', 'inner'] as const;

const behind = (app: string, waypoint: string, callers: readonly string[]): string =>
  [
    serviceYaml(
      app,
      {},
      {
        ports: [
          { name: 'http', port: 80, targetPort: HTTP_PORT },
          { name: 'tcp', port: 81, targetPort: PORT },
        ],
      },
      'shop',
      { 'istio.io/use-waypoint': waypoint },
    ),
    // Connections that the waypoint keeps for the next request are none that are left behind.
    `---\n${JSON.stringify({
      ...{ apiVersion: 'networking.istio.io/v1', kind: 'DestinationRule' },
      metadata: { name: app, namespace: 'shop' },
      spec: {
        host: `${app}.shop.svc.cluster.local`,
        trafficPolicy: { connectionPool: { http: { idleTimeout: '5s' } } },
      },
    })}\n`,
    policyYaml(`callers-of-${app}`, {
      targetRefs: [{ group: '', kind: 'Service', name: app }],
      action: 'ALLOW',
      rules: [{ from: [{ source: { principals: callers.map((one) => `*/sa/${one}`) } }] }],
    }),
  ].join('');

/** What the topologies with waypoints have beside it. `middle` carries on to `deep` what it gets. */
export const WAYPOINT_YAML = [
  ...WAYPOINTS.map((name) => waypointYaml(name)),
  podYaml('guarded', { node: 'node-2' }),
  podYaml('middle', { node: 'node-2' }),
  podYaml('deep', { node: 'node-1' }),
  behind('guarded', 'gate', ['client', 'other']),
  behind('middle', 'gate', ['client', 'other']),
  behind('deep', 'inner', ['middle']),
].join('');

const L4_SERVERS = ['near', 'far', 'open', OUTSIDE_SERVER] as const;
/** Each with the waypoint that calls it. */
const WAYPOINT_SERVERS: Readonly<Record<string, string>> = { guarded: 'gate', deep: 'inner' };
/** Whom the policies above keep out, by the server. */
const REFUSED: Readonly<Record<string, readonly string[]>> = {
  near: ['shop/intruder', OUTSIDE_CLIENT],
  far: ['shop/intruder', OUTSIDE_CLIENT],
  guarded: ['shop/intruder'],
  deep: ['shop/intruder'],
};

type LoadPlan = Readonly<{
  topology: Topology;
  from: string;
  to: string;
  expect: LoadTask['expect'];
  /** By the address of the Service, by its name, or by that of the pod; behind a waypoint, by a Service's port. */
  by: 'vip' | 'name' | 'pod' | 'http' | 'tcp';
  /** The Service that is called, where it is another's. */
  through?: string;
}>;

const PLANS: readonly LoadPlan[] = [
  { topology: 'one node', from: 'client', to: 'near', expect: 'answer', by: 'name' },
  { topology: 'one node', from: 'other', to: 'near', expect: 'answer', by: 'pod' },
  { topology: 'one node', from: 'intruder', to: 'near', expect: 'refused', by: 'vip' },
  { topology: 'two nodes', from: 'client', to: 'far', expect: 'answer', by: 'pod' },
  { topology: 'two nodes', from: 'other', to: 'far', expect: 'answer', by: 'vip' },
  { topology: 'two nodes', from: 'intruder', to: 'far', expect: 'refused', by: 'pod' },
  { topology: 'to the outside', from: 'client', to: OUTSIDE_SERVER, expect: 'answer', by: 'pod' },
  { topology: 'to the outside', from: 'other', to: OUTSIDE_SERVER, expect: 'answer', by: 'pod' },
  { topology: 'from the outside', from: OUTSIDE_CLIENT, to: 'open', expect: 'answer', by: 'pod' },
  { topology: 'from the outside', from: OUTSIDE_CLIENT, to: 'near', expect: 'refused', by: 'pod' },
  { topology: 'one waypoint', from: 'client', to: 'guarded', expect: 'answer', by: 'http' },
  { topology: 'one waypoint', from: 'other', to: 'guarded', expect: 'answer', by: 'tcp' },
  { topology: 'one waypoint', from: 'intruder', to: 'guarded', expect: 'refused', by: 'http' },
  ...(['http', 'tcp'] as const).flatMap((by, index): LoadPlan[] => {
    const common = { topology: 'two waypoints', to: 'deep', by, through: 'middle' } as const;
    return [
      { ...common, from: index === 0 ? 'client' : 'other', expect: 'answer' },
      { ...common, from: 'intruder', expect: 'refused' },
    ];
  }),
];

/**
 * A connection of each load so often; a refused one need not be as frequent. All together keep two processors busy for about
 * half of the time, so that there is room to catch up in.
 */
const PERIOD_MS = 160;
/** Each passes five proxies and a program between. */
const WAYPOINT_PERIOD_MS = 320;
const REFUSED_PERIOD_MS = 500;
const SLOW_EVERY = 12;

/** What one topology's loads have met since the last time. */
export type TopologyReport = {
  began: number;
  open: number;
  /** Answered in full; `load` is one of loadsOf(). */
  complete: (Attempt & Readonly<{ load: string }>)[];
  /** Ended with a clean error. */
  errors: Attempt[];
  wrong: string[];
};

export type LoadReports = ReadonlyMap<Topology, TopologyReport>;

/** Peers that load several topologies at once, and servers that check. */
export class Loads {
  readonly #mesh: Mesh;
  readonly topologies: readonly Topology[];
  readonly place: FaultPlace;
  readonly #servers = new Map<string, Peer>();
  readonly #running = new Map<string, LoadPlan>();

  constructor(mesh: Mesh, topologies: readonly Topology[]) {
    this.#mesh = mesh;
    this.topologies = topologies;
    this.place = new FaultPlace(mesh, (pod) => this.#serve(pod));
  }

  /** Starts every server; once for a mesh. */
  async startServers(): Promise<void> {
    await this.#mesh.outside('client');
    this.place.servers.push(...L4_SERVERS);
    if (this.topologies.some((topology) => isBehindWaypoint(topology))) {
      for (const waypoint of WAYPOINTS) await waypointReady(this.#mesh, waypoint);
      this.place.servers.push(...Object.keys(WAYPOINT_SERVERS));
      const waypoints = await Promise.all(WAYPOINTS.map((name) => waypointPods(this.#mesh, name)));
      this.place.pods.push('guarded', 'middle', 'deep', ...waypoints.flat());
      await this.#forward();
    }
    await Promise.all(this.place.servers.map((pod) => this.#serve(pod)));
  }

  /** `middle` calls `deep` for each connection that it gets, in the same protocol. */
  async #forward(): Promise<void> {
    const [peer, host] = [await this.#mesh.peer('middle'), await this.#mesh.vip('deep')];
    await peer.ask('forward', { port: HTTP_PORT, host, toPort: 80 });
    await peer.ask('forward', { port: PORT, host, toPort: 81 });
  }

  /** Starts all loads. */
  async start(): Promise<void> {
    const plans = PLANS.filter(({ topology }) => this.topologies.includes(topology));
    await Promise.all(plans.map((plan) => this.#start(plan)));
  }

  async take(): Promise<LoadReports> {
    const reports = emptyReports();
    await Promise.all(
      [...this.#running].map(async ([name, plan]) => {
        const peer = await this.#peer(plan.from);
        addReport(reports, plan, await peer.ask('takeLoad', { name }));
      }),
    );
    await this.#addServed(reports);
    return reports;
  }

  /** A fault is over: every load begins a new connection at once, however many hang. */
  async resume(): Promise<void> {
    await Promise.all(
      [...this.#running].map(async ([name, { from }]) =>
        (await this.#peer(from)).ask('resumeLoad', { name }),
      ),
    );
  }

  /** Ends all loads, those that hang after `graceMs`. */
  async stop(graceMs: number): Promise<LoadReports> {
    const reports = emptyReports();
    await Promise.all(
      [...this.#running].map(async ([name, plan]) => {
        const peer = await this.#peer(plan.from);
        addReport(reports, plan, await peer.ask('stopLoad', { name, graceMs }));
      }),
    );
    this.#running.clear();
    await this.#addServed(reports);
    return reports;
  }

  async #start(plan: LoadPlan): Promise<void> {
    const name = nameOf(plan);
    const refused = plan.expect === 'refused';
    const task: LoadTask = {
      ...{ name, expect: plan.expect, target: fullName(plan.to) },
      ...(await this.#destination(plan)),
      periodMs: refused ? REFUSED_PERIOD_MS : periodOf(plan),
      slowEvery: refused ? 0 : SLOW_EVERY,
      carrier: plan.by === 'http' ? 'http' : 'tcp',
    };
    await (await this.#peer(plan.from)).ask('load', { source: fullName(plan.from), task });
    this.#running.set(name, plan);
  }

  async #destination({ to, by, through = to }: LoadPlan): Promise<{ host: string; port: number }> {
    if (by === 'http' || by === 'tcp')
      return { host: await this.#mesh.vip(through), port: by === 'http' ? 80 : 81 };
    if (to === OUTSIDE_SERVER) return { host: OUTSIDE_IP, port: PORT };
    if (by === 'vip') return { host: await this.#mesh.vip(to), port: 80 };
    if (by === 'name') return { host: `${to}.shop`, port: 80 };
    return { host: await this.#mesh.ip(to), port: PORT };
  }

  async #serve(pod: string): Promise<void> {
    const peer =
      pod === OUTSIDE_SERVER ? await this.#mesh.outside('server') : await this.#mesh.peer(pod);
    this.#servers.set(pod, peer);
    const refused = REFUSED[pod] ?? [];
    const common = { port: PORT, name: fullName(pod), refused };
    const waypoint = WAYPOINT_SERVERS[pod];
    if (waypoint === undefined) await peer.ask('serveTagged', common);
    else {
      const pods = await waypointPods(this.#mesh, waypoint);
      const callers = await Promise.all(pods.map((one) => this.#mesh.ip(one)));
      await peer.ask('serveTagged', { ...common, callers, httpPort: HTTP_PORT });
    }
    if (pod === 'near') await peer.listen(ECHO_PORT);
  }

  #peer(name: string): Promise<Peer> {
    return this.#mesh.peer(name);
  }

  /** What servers call wrong is told in every topology that they serve. */
  async #addServed(reports: LoadReports): Promise<void> {
    for (const [server, peer] of this.#servers) {
      if (peer.gone) continue; // a fault's doing; what it saw went with it
      const { wrong } = await peer.ask('takeServed', {});
      for (const { topology, to } of PLANS)
        if (to === server) reports.get(topology)?.wrong.push(...wrong);
    }
  }
}

function periodOf({ topology }: LoadPlan): number {
  return isBehindWaypoint(topology) ? WAYPOINT_PERIOD_MS : PERIOD_MS;
}

function isBehindWaypoint(topology: Topology): boolean {
  return WAYPOINT_TOPOLOGIES.some((one) => one === topology);
}

function addReport(reports: LoadReports, plan: LoadPlan, load: LoadReport): void {
  const { topology, expect } = plan;
  const report = reports.get(topology);
  if (report === undefined) return;
  report.wrong.push(...load.wrong);
  if (expect === 'refused') return;
  report.began += load.began;
  report.open += load.open;
  for (const attempt of load.attempts)
    if (attempt.how === 'complete') report.complete.push({ ...attempt, load: nameOf(plan) });
    else report.errors.push(attempt);
}

function emptyReports(): LoadReports {
  return new Map(
    TOPOLOGIES.map((topology) => [
      topology,
      { began: 0, open: 0, complete: [], errors: [], wrong: [] },
    ]),
  );
}

/** Those of a topology that are to be answered, by name. */
export function loadsOf(topology: Topology): string[] {
  return PLANS.filter((plan) => plan.topology === topology && plan.expect === 'answer').map(nameOf);
}

function nameOf({ from, to, by }: LoadPlan): string {
  return by === 'http' || by === 'tcp' ? `${from} to ${to} by ${by}` : `${from} to ${to}`;
}

function fullName(pod: string): string {
  return pod.includes('/') ? pod : `shop/${pod}`;
}

/** The pods of a mesh by their addresses, those whose names fit alone. */
export async function addressesOf(mesh: Mesh, names = /^/): Promise<Map<string, string>> {
  const { pods } = await mesh.sandbox.status();
  return new Map(
    pods
      .filter(({ name }) => names.test(name))
      .flatMap(({ namespace, name, addresses }) =>
        addresses.map((ip): [string, string] => [ip, `${namespace}/${name}`]),
      ),
  );
}
