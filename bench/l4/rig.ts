import { ztunnelsOf } from '../../cli/parts.ts';
import type { Sandbox } from '../../cli/sandbox.ts';
import type { SandboxStatus } from '../../deploy/sandbox/api.ts';
import { netnsPath } from '../../deploy/sandbox/networks.ts';
import { BenchSandbox, SYSTEM_SETTINGS } from '../harness/bench-sandbox.ts';
import { runChild } from '../harness/child.ts';
import { outsidePid } from '../harness/processes.ts';
import { LoadClient, startLoadServer } from '../load/load-client.ts';
import { IMAGES, meshYaml } from './mesh-objects.ts';
import { MESH_NAMESPACE, podOf, SERVICE, type Place } from './places.ts';

const NODES = ['node-1', 'node-2'] as const;
const PLACES: readonly Place[] = [
  'mesh-client',
  'mesh-server',
  'plain-client',
  'plain-server',
  'outside',
];

/**
 * A sandbox with two nodes, in which everything is measured: the mesh between pods of one namespace, everything else
 * between pods of another one, on the same nodes, links and bridge.
 */
export class Rig implements AsyncDisposable {
  readonly #bench: BenchSandbox;
  readonly #stack = new AsyncDisposableStack();
  readonly #clients = new Map<Place, LoadClient>();
  readonly #namespaces = new Map<Place, string>();
  readonly #ips = new Map<Place, string>();
  #vip = '';

  /**
   * @param environment of the ztunnels, such as DATA_THREADS.
   * @param yaml what there is in the mesh besides.
   */
  static async start(environment: Readonly<Record<string, string>> = {}, yaml = ''): Promise<Rig> {
    const rig = new Rig(
      await BenchSandbox.start({
        ...{ nodes: NODES.length, mesh: true, images: IMAGES },
        ...{ partEnvironment: { ztunnel: environment }, yaml: meshYaml() + yaml },
      }),
    );
    try {
      await rig.#prepareAll();
      return rig;
    } catch (error) {
      await rig[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(bench: BenchSandbox) {
    this.#bench = this.#stack.use(bench);
  }

  async #prepareAll(): Promise<void> {
    const status = await this.status();
    for (const place of PLACES) await this.#prepare(place, status);
    this.#vip = await this.serviceAddress(SERVICE);
    for (const place of ['mesh-server', 'plain-server'] as const)
      this.#stack.use(await startLoadServer((command) => this.enter(place, command)));
  }

  async #prepare(place: Place, status: SandboxStatus): Promise<void> {
    const pod = podOf(place);
    let netns = this.#bench.fromOutside(netnsPath(place));
    if (pod !== undefined) {
      const [namespace, name] = pod;
      const line = status.pods.find((one) => one.namespace === namespace && one.name === name);
      this.#ips.set(place, line?.addresses.find((address) => !address.includes(':')) ?? '');
      netns = await this.podNetns(namespace, name);
    }
    this.#namespaces.set(place, netns);
    await runChild(this.enter(place, ['sh', '-c', SYSTEM_SETTINGS]));
  }

  get sandbox(): Sandbox {
    return this.#bench.sandbox;
  }

  /** The path of a pod's network namespace. */
  async podNetns(namespace: string, name: string): Promise<string> {
    return (await this.#bench.podNetns(namespace, name)) ?? '';
  }

  /** The VIP of a Service of the mesh's namespace. */
  async serviceAddress(name: string): Promise<string> {
    const query = { kind: 'Service', namespace: MESH_NAMESPACE, name };
    const [service] = await this.sandbox.objects(query);
    const { clusterIP = '' } = (service?.['spec'] ?? {}) as { clusterIP?: string };
    return clusterIP;
  }

  status(): Promise<SandboxStatus> {
    return this.#bench.status();
  }

  /** Makes a command run in the network of a place, see BenchSandbox.enter(). */
  enter(place: Place, command: readonly string[]): string[] {
    return this.#bench.enter(this.#namespaces.get(place) ?? '', command);
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
    const pid = outsidePid(part?.pid ?? 0, this.#bench.insider);
    if (pid === undefined) throw new Error(`Cannot find the process of the ztunnel of ${node}`);
    return pid;
  }

  /** See BenchSandbox.pidsRunning(). */
  pidsRunning(program: string): number[] {
    return this.#bench.pidsRunning(program);
  }

  async ztunnelPids(): Promise<number[]> {
    return await Promise.all(NODES.map((node) => this.ztunnelPid(node)));
  }

  apply(text: string): Promise<void> {
    return this.#bench.apply(text);
  }

  settled(): Promise<void> {
    return this.#bench.settled();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}
