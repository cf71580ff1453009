import { readlinkSync, statfsSync, statSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { OUTSIDE } from '../../deploy/sandbox/addresses.ts';
import type { PodStatusLine } from '../../deploy/sandbox/api.ts';
import { netnsPath } from '../../deploy/sandbox/networks.ts';
import { DATAPLANE_MODE } from '../../mesh/kubernetes/labels.ts';
import { BenchSandbox, SYSTEM_SETTINGS } from '../harness/bench-sandbox.ts';
import { runChild } from '../harness/child.ts';
import { processTree } from '../harness/processes.ts';
import { TemporaryFolder } from '../harness/temporary-folder.ts';
import { LoadClient } from '../load/load-client.ts';
import type { HttpTarget } from '../load/protocol.ts';
import { EnvoySidecars } from '../sidecar/envoy-sidecars.ts';
import { HaloSidecars } from '../sidecar/halo-sidecars.ts';
import { raiseInotifyLimit } from '../sidecar/inotify-limit.ts';
import type { Sidecars, SidecarsOf } from '../sidecar/sidecars.ts';
import {
  APP_NAMESPACE,
  appEndpoints,
  appPods,
  besidePod,
  hostOf,
  latePod,
  LOAD,
  PROBE,
  REPLICAS,
  requestPath,
  SENDERS,
  SERVICE_PORT,
  type AppPod,
} from './application.ts';
import type { CallGraph } from './call-graph.ts';
import {
  applicationYaml,
  DENY_PROBE_OBJECTS,
  denyProbeYaml,
  podObject,
  policiesYaml,
  type Additions,
} from './mesh-objects.ts';
import { CONTROL_PROGRAMS, waypointedServices, type Mode, type ModeName } from './modes.ts';

/** The modes with a proxy in each pod. */
const SIDECARS: Readonly<Partial<Record<ModeName, SidecarsOf>>> = {
  sidecar: HaloSidecars,
  'sidecar-envoy': EnvoySidecars,
};

/** A hundred pods on two cores, each with a proxy that reads its configuration. */
const START_TIMEOUT_MS = 300_000;
const LOOK_EVERY_MS = 5;
/** From when every container runs. */
const CALLS_TIMEOUT_MS = 60_000;
const CALL_TIMEOUT_MS = 5000;
const RETRY_MS = 100;
/** linux/magic.h: the file system of namespaces. */
const NSFS_MAGIC = 0x6e736673;

export type DeploymentOptions = Readonly<{
  mode: Mode;
  graph: CallGraph;
  nodes: number;
  /** How many pods are started while the rest runs, and how many are taken into the mesh. */
  late: number;
  beside: number;
}>;

/** Processes of one node. */
export type NodeProcesses = Readonly<{ node: string; pids: readonly number[] }>;

/** The application in a sandbox, under one mode. */
export class Deployment implements AsyncDisposable {
  readonly options: DeploymentOptions;
  readonly bench: BenchSandbox;
  /** In whose network the load is made; and who may call every service. */
  readonly load: LoadClient;
  readonly probe: LoadClient;
  /** In no pod. */
  readonly outside: LoadClient;
  readonly #stack: AsyncDisposableStack;
  readonly #folder: string;
  readonly #nodes: readonly string[];
  readonly #sidecars: Sidecars | undefined;
  readonly #vips: ReadonlyMap<string, string>;

  /** Resolves when everything runs and every proxy knows it all. */
  static async start(options: DeploymentOptions): Promise<Deployment> {
    await using stack = new AsyncDisposableStack();
    const { mode, graph, late } = options;
    const folder = stack.use(new TemporaryFolder('application')).path;
    const endpoints = appEndpoints(graph, late);
    const Chosen = SIDECARS[mode.name];
    const sidecars = Chosen && new Chosen(folder, graph, endpoints);
    if (sidecars !== undefined) {
      const pods = SENDERS + graph.services.length * REPLICAS + late + options.beside;
      stack.use(raiseInotifyLimit(pods * sidecars.inotifyInstances));
    }
    const nodes = Array.from({ length: options.nodes }, (_, index) => `node-${index + 1}`);
    const inMesh = mode.proxies === 'node';
    const waypointed = waypointedServices(mode, graph);
    const pods = [
      ...appPods(graph, nodes, folder),
      ...(inMesh
        ? Array.from({ length: options.beside }, (_, index) => besidePod(index, nodes))
        : []),
    ];
    const additions = (pod: AppPod): Additions | undefined => sidecars?.additions(pod);
    const bench = stack.use(
      await BenchSandbox.start({
        ...{ nodes: options.nodes, mesh: inMesh, images: {}, partEnvironment: {} },
        yaml:
          applicationYaml(graph, pods, late, inMesh, waypointed, additions) +
          (inMesh ? policiesYaml(graph, waypointed) : ''),
        timeoutMs: START_TIMEOUT_MS,
      }),
    );
    const client = async (netns: string): Promise<LoadClient> => {
      await runChild(bench.enter(netns, ['sh', '-c', SYSTEM_SETTINGS]));
      return stack.use(new LoadClient((command) => bench.enter(netns, command)));
    };
    const clients = {
      load: await client((await bench.podNetns(APP_NAMESPACE, LOAD)) ?? ''),
      probe: await client((await bench.podNetns(APP_NAMESPACE, PROBE)) ?? ''),
      outside: await client(bench.fromOutside(netnsPath(OUTSIDE))),
    };
    const vips = new Map(endpoints.map(({ name, vip }) => [name, vip]));
    const parts = { options, bench, folder, nodes, sidecars, vips, ...clients };
    const deployment = new Deployment(parts, stack.move());
    if (sidecars !== undefined) await deployment.#tellSidecars(sidecars);
    return deployment;
  }

  private constructor(
    parts: Readonly<{
      options: DeploymentOptions;
      bench: BenchSandbox;
      load: LoadClient;
      probe: LoadClient;
      outside: LoadClient;
      folder: string;
      nodes: readonly string[];
      sidecars: Sidecars | undefined;
      vips: ReadonlyMap<string, string>;
    }>,
    stack: AsyncDisposableStack,
  ) {
    const { options, bench, load, probe, outside } = parts;
    this.options = options;
    this.bench = bench;
    this.load = load;
    this.probe = probe;
    this.outside = outside;
    this.#folder = parts.folder;
    this.#nodes = parts.nodes;
    this.#sidecars = parts.sidecars;
    this.#vips = parts.vips;
    this.#stack = stack;
  }

  /** A request to a service. */
  target(service: string, path = '/'): HttpTarget {
    const host = this.#vips.get(service) ?? '';
    return { host, port: SERVICE_PORT, authority: hostOf(service), path };
  }

  /** How many pods the application has from the beginning. */
  get pods(): number {
    return SENDERS + this.options.graph.services.length * REPLICAS;
  }

  async #podLines(): Promise<readonly PodStatusLine[]> {
    const { pods } = await this.bench.status();
    return pods.filter(({ namespace }) => namespace === APP_NAMESPACE);
  }

  /** The proxies, by node. */
  async dataPlane(): Promise<readonly NodeProcesses[]> {
    return await this.#processes(this.options.mode.programs);
  }

  async controlPlane(): Promise<readonly NodeProcesses[]> {
    if (this.options.mode.proxies !== 'node') return [];
    return await this.#processes(CONTROL_PROGRAMS);
  }

  /** Some process in the network of each pod, to read its interface's counters by. */
  async podProcesses(): Promise<readonly number[]> {
    const namespaces = new Set(
      await Promise.all(
        (await this.#podLines()).map(async ({ name }) => inode(await this.#netnsOf(name))),
      ),
    );
    const found = new Map<string, number>();
    for (const pid of processTree(this.bench.insider)) {
      const netns = netnsOf(pid);
      if (netns !== undefined && namespaces.has(netns)) found.set(netns, pid);
    }
    return [...found.values()];
  }

  /** Creates a pod that serves a Service of its own. @returns when it was asked for, in ms since 1970. */
  async startLate(index: number): Promise<number> {
    const pod = latePod(index, this.#nodes, this.#folder);
    const atMs = await this.#create(pod);
    if (this.#sidecars !== undefined) {
      // As soon as the address is known, as a control plane would.
      const ip = await this.#addressOf(pod.name);
      this.#sidecars.setEndpoints(pod.name, [ip]);
    }
    return atMs;
  }

  /**
   * Takes a running pod into the mesh: by its label; where a sidecar is needed a pod that has one is made in its place.
   *
   * @returns when it was asked for, in ms since 1970, and the path of the pod's network namespace.
   */
  async enrol(index: number): Promise<{ atMs: number; netns: string }> {
    const pod = besidePod(index, this.#nodes);
    if (this.#sidecars !== undefined) {
      const atMs = await this.#create({ ...pod, beside: false });
      return { atMs, netns: await this.#netnsOf(pod.name) };
    }
    const netns = await this.#netnsOf(pod.name);
    const object = { kind: 'Pod', namespace: APP_NAMESPACE, name: pod.name };
    const atMs = Date.now();
    await this.bench.sandbox.post('/v1/label', { object, labels: { [DATAPLANE_MODE]: null } });
    return { atMs, netns };
  }

  /** Has all proxies refuse the probe, or serve it again. @returns when it was asked for, in ms since 1970. */
  async denyProbe(on: boolean): Promise<number> {
    const atMs = Date.now();
    if (this.#sidecars !== undefined) this.#sidecars.denyProbe(on);
    else if (on) await this.bench.apply(denyProbeYaml(this.#waypointed));
    else await this.bench.sandbox.post('/v1/delete', { objects: DENY_PROBE_OBJECTS });
    return atMs;
  }

  get #waypointed(): readonly string[] {
    return waypointedServices(this.options.mode, this.options.graph);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }

  async #tellSidecars(sidecars: Sidecars): Promise<void> {
    const lines = new Map((await this.#podLines()).map((pod) => [pod.name, pod]));
    const { graph } = this.options;
    const pods = appPods(graph, this.#nodes, this.#folder);
    for (const { name } of graph.services) {
      const own = pods.filter(({ service }) => service === name);
      const ips = own.map((pod) => ipv4(lines.get(pod.name)?.addresses ?? []));
      sidecars.setEndpoints(name, ips);
    }
    await this.#untilCallsSucceed();
  }

  /** Sidecars read files in their own time: until every path is answered, and again from wherever it was sent to. */
  async #untilCallsSucceed(): Promise<void> {
    const targets = this.options.graph.paths.flatMap((path) =>
      Array.from({ length: 2 * REPLICAS }, () => this.target(path[0], requestPath(path))),
    );
    const deadlineMs = performance.now() + CALLS_TIMEOUT_MS;
    for (let next = 0; next < targets.length; ) {
      const target = targets[next++];
      if (target === undefined) break;
      const { status } = await this.load.ask('httpGet', { target, timeoutMs: CALL_TIMEOUT_MS });
      if (status === '200') continue;
      if (performance.now() > deadlineMs)
        throw new Error(`Cannot start: ${target.authority}${target.path} answers ${status}`);
      next = 0;
      await wait(RETRY_MS);
    }
  }

  async #create(pod: AppPod): Promise<number> {
    const text = podObject(pod, this.#sidecars?.additions(pod));
    const atMs = Date.now();
    await this.bench.apply(text);
    return atMs;
  }

  async #addressOf(name: string): Promise<string> {
    for (;;) {
      const pod = (await this.#podLines()).find((one) => one.name === name);
      const ip = ipv4(pod?.addresses ?? []);
      if (ip !== '') return ip;
      await wait(LOOK_EVERY_MS);
    }
  }

  async #netnsOf(name: string): Promise<string> {
    for (;;) {
      const netns = await this.bench.podNetns(APP_NAMESPACE, name);
      if (netns !== undefined && inode(netns) !== undefined) return netns;
      await wait(LOOK_EVERY_MS);
    }
  }

  async #processes(programs: readonly string[]): Promise<readonly NodeProcesses[]> {
    const status = await this.bench.status();
    const nodeOf = new Map(
      status.nodes.map(({ name, netns }) => [inode(this.bench.fromOutside(netns)), name]),
    );
    for (const { namespace, name, node } of status.pods) {
      const netns = await this.bench.podNetns(namespace, name);
      if (netns !== undefined) nodeOf.set(inode(netns), node);
    }
    const byNode = new Map<string, number[]>();
    for (const program of programs)
      for (const pid of this.bench.pidsRunning(program)) {
        const node = nodeOf.get(netnsOf(pid)) ?? 'control-plane';
        byNode.set(node, [...(byNode.get(node) ?? []), pid]);
      }
    return [...byNode].map(([node, pids]) => ({ node, pids }));
  }
}

function ipv4(addresses: readonly string[]): string {
  return addresses.find((address) => !address.includes(':')) ?? '';
}

/** What identifies a network namespace; nothing where there is none (yet): first there is an empty file in its place. */
function inode(path: string): string | undefined {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined || statfsSync(path).type !== NSFS_MAGIC) return undefined;
  return `net:[${stats.ino}]`;
}

function netnsOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return undefined; // it has ended
  }
}
