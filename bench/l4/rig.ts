import { readFileSync, readlinkSync } from 'node:fs';
import { controlPlaneOf, ztunnelsOf } from '../../cli/parts.ts';
import { Sandbox } from '../../cli/sandbox.ts';
import { waitForProxies } from '../../cli/sync.ts';
import { startMesh } from '../../cli/verbs/up.ts';
import type { ApplyResponse, SandboxStatus, SupervisorFile } from '../../deploy/sandbox/api.ts';
import { stopSandbox } from '../../deploy/sandbox/launch.ts';
import { netnsPath } from '../../deploy/sandbox/networks.ts';
import { NETNS_ANNOTATION } from '../../deploy/sandbox/pods.ts';
import { runChild } from '../harness/child.ts';
import { outsidePid, processTree, readProc } from '../harness/processes.ts';
import { TemporaryFolder } from '../harness/temporary-folder.ts';
import { LoadClient, startLoadServer } from '../load/load-client.ts';
import { IMAGES, meshYaml } from './mesh-objects.ts';
import { MESH_NAMESPACE, podOf, SERVICE, type Place } from './places.ts';

const NAME = 'bench';
const NODES = ['node-1', 'node-2'] as const;
const TIMEOUT_MS = 60_000;
const PLACES: readonly Place[] = [
  'mesh-client',
  'mesh-server',
  'plain-client',
  'plain-server',
  'outside',
];

/**
 * Short connections by the hundred thousand: ports that wait for late packets are used again, and there are more of them,
 * all above those that are listened on.
 * The same for everybody who is measured.
 */
const SYSTEM_SETTINGS = `echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse
echo 16000 65535 > /proc/sys/net/ipv4/ip_local_port_range
echo 4096 > /proc/sys/net/core/somaxconn`;

/**
 * A sandbox with two nodes, in which everything is measured: the mesh between pods of one namespace, everything else
 * between pods of another one, on the same nodes, links and bridge.
 */
export class Rig implements AsyncDisposable {
  readonly sandbox = new Sandbox(NAME);
  readonly #stack = new AsyncDisposableStack();
  readonly #clients = new Map<Place, LoadClient>();
  readonly #namespaces = new Map<Place, string>();
  readonly #ips = new Map<Place, string>();
  #insider = 0;
  #vip = '';

  /**
   * @param environment of the ztunnels, such as DATA_THREADS.
   * @param yaml what there is in the mesh besides.
   */
  static async start(environment: Readonly<Record<string, string>> = {}, yaml = ''): Promise<Rig> {
    // A folder of its own: a run meets neither the user's sandboxes nor another run's.
    const state = new TemporaryFolder('state');
    process.env['XDG_STATE_HOME'] = state.path;
    const rig = new Rig();
    rig.#stack.use(state);
    try {
      await rig.#start(environment, yaml);
      return rig;
    } catch (error) {
      await rig[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #start(environment: Readonly<Record<string, string>>, yaml: string): Promise<void> {
    const onExit = (): void => {
      killSandbox(this.sandbox);
    };
    process.prependListener('exit', onExit); // before the folder goes that says whom to end
    this.#stack.defer(async () => {
      await stopSandbox(NAME);
      process.off('exit', onExit);
    });
    const settings = {
      ...{ name: NAME, nodes: NODES.length, mesh: true, dnsCapture: false, images: IMAGES },
      partEnvironment: { ztunnel: environment },
    };
    const terminal = {
      ...{ out: () => undefined, note: () => undefined, interactive: false, colours: false },
      signal: new AbortController().signal,
    };
    const manifests = [{ source: 'bench.yaml', text: meshYaml() + yaml }];
    const unsettled = await startMesh(settings, manifests, TIMEOUT_MS, terminal);
    if (unsettled.length > 0) throw new Error(`Cannot start the mesh: ${unsettled.join('; ')}`);
    await this.pushed();
    const status = await this.status();
    this.#insider = status.supervisorPid;
    for (const place of PLACES) await this.#prepare(place, status);
    this.#vip = await this.serviceAddress(SERVICE);
    for (const place of ['mesh-server', 'plain-server'] as const)
      this.#stack.use(await startLoadServer((command) => this.enter(place, command)));
  }

  async #prepare(place: Place, status: SandboxStatus): Promise<void> {
    const pod = podOf(place);
    let netns = this.#fromOutside(netnsPath(place));
    if (pod !== undefined) {
      const [namespace, name] = pod;
      const line = status.pods.find((one) => one.namespace === namespace && one.name === name);
      this.#ips.set(place, line?.addresses.find((address) => !address.includes(':')) ?? '');
      netns = await this.podNetns(namespace, name);
    }
    this.#namespaces.set(place, netns);
    await runChild(this.enter(place, ['sh', '-c', SYSTEM_SETTINGS]));
  }

  /** The path of a pod's network namespace. */
  async podNetns(namespace: string, name: string): Promise<string> {
    const [pod] = await this.sandbox.objects({ kind: 'Pod', namespace, name });
    return this.#fromOutside(pod?.metadata.annotations?.[NETNS_ANNOTATION] ?? '');
  }

  /** A path in the sandbox's own file system. */
  #fromOutside(path: string): string {
    return `/proc/${this.#insider}/root${path}`;
  }

  /** The VIP of a Service of the mesh's namespace. */
  async serviceAddress(name: string): Promise<string> {
    const query = { kind: 'Service', namespace: MESH_NAMESPACE, name };
    const [service] = await this.sandbox.objects(query);
    const { clusterIP = '' } = (service?.['spec'] ?? {}) as { clusterIP?: string };
    return clusterIP;
  }

  status(): Promise<SandboxStatus> {
    return this.sandbox.status();
  }

  /**
   * Makes a command run in the network of a place, and in nothing else of the sandbox: it sees this machine's /proc and
   * files. The process that is started is the command's own.
   */
  enter(place: Place, command: readonly string[]): string[] {
    const insiders = readlinkSync(`/proc/${this.#insider}/ns/user`);
    const user =
      insiders === readlinkSync('/proc/self/ns/user')
        ? []
        : ['--target', String(this.#insider), '--user', '--preserve-credentials'];
    return ['nsenter', ...user, `--net=${this.#namespaces.get(place) ?? ''}`, ...command];
  }

  /** The load client of a place, started when it is first asked for. */
  client(place: Place): LoadClient {
    const found = this.#clients.get(place);
    if (found !== undefined) return found;
    const client = this.#stack.use(new LoadClient((command) => this.enter(place, command)));
    this.#clients.set(place, client);
    return client;
  }

  /** The address of a place. */
  ip(place: Place): string {
    return this.#ips.get(place) ?? '';
  }

  /** The address of the Service in the mesh. */
  get vip(): string {
    return this.#vip;
  }

  /** The process of a node's ztunnel, as /proc outside has it. */
  async ztunnelPid(node: (typeof NODES)[number]): Promise<number> {
    const [part] = ztunnelsOf(await this.status(), node);
    const pid = outsidePid(part?.pid ?? 0, this.#insider);
    if (pid === undefined) throw new Error(`Cannot find the process of the ztunnel of ${node}`);
    return pid;
  }

  /** The processes of the sandbox that run a program, such as `waypoint/main.ts`, as /proc outside has them. */
  pidsRunning(program: string): number[] {
    return processTree(this.#insider).filter((pid) =>
      readProc(`/proc/${pid}/cmdline`)
        .split('\0')
        .some((argument) => argument.endsWith(program)),
    );
  }

  async ztunnelPids(): Promise<number[]> {
    return await Promise.all(NODES.map((node) => this.ztunnelPid(node)));
  }

  async apply(text: string): Promise<void> {
    const documents = [{ source: 'bench.yaml', text }];
    await this.sandbox.post<ApplyResponse>('/v1/apply', { documents });
  }

  /** Resolves when every part is ready, every pod runs and is captured as asked, and every proxy knows it all. */
  async settled(): Promise<void> {
    for (const what of ['ready', 'settled'] as const) {
      const { done, unsettled } = await this.sandbox.wait(what, TIMEOUT_MS);
      if (!done) throw new Error(`Cannot go on: not ${what}: ${unsettled.join('; ')}`);
    }
    await this.pushed();
  }

  async pushed(): Promise<void> {
    const { done, laggards } = await waitForProxies(
      controlPlaneOf(await this.status()),
      TIMEOUT_MS,
    );
    if (done) return;
    const found = laggards.map((one) => `${one.proxy}: ${one.reason}`).join('; ');
    throw new Error(`Cannot go on: not every proxy has its configuration: ${found}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** The last resort of a run that is interrupted: all inside ends with the process outside. */
function killSandbox(sandbox: Sandbox): void {
  try {
    const text = readFileSync(sandbox.paths.supervisor, 'utf8');
    process.kill((JSON.parse(text) as SupervisorFile).pid, 'SIGKILL');
  } catch {
    // It has ended already.
  }
}
