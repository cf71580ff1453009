import { readFileSync } from 'node:fs';
import { controlPlaneOf } from '../../cli/parts.ts';
import { Sandbox } from '../../cli/sandbox.ts';
import { waitForProxies } from '../../cli/sync.ts';
import { startMesh } from '../../cli/verbs/up.ts';
import type {
  ApplyResponse,
  SandboxSettings,
  SandboxStatus,
  SupervisorFile,
} from '../../deploy/sandbox/api.ts';
import { stopSandbox } from '../../deploy/sandbox/launch.ts';
import { NETNS_ANNOTATION } from '../../deploy/sandbox/pods.ts';
import { enterNetns } from './enter-netns.ts';
import { processTree, readProc } from './processes.ts';
import { TemporaryFolder } from './temporary-folder.ts';

const NAME = 'bench';
const TIMEOUT_MS = 60_000;

/**
 * Short connections by the hundred thousand: ports that wait for late packets are used again, and there are more of them,
 * all above those that are listened on.
 * The same for everybody who is measured.
 */
export const SYSTEM_SETTINGS = `echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse
echo 16000 65535 > /proc/sys/net/ipv4/ip_local_port_range
echo 4096 > /proc/sys/net/core/somaxconn`;

export type BenchSandboxOptions = Pick<
  SandboxSettings,
  'nodes' | 'mesh' | 'images' | 'partEnvironment'
> &
  Readonly<{
    yaml: string;
    timeoutMs?: number;
  }>;

/** A sandbox of a benchmark's own, which ends with this process at the latest. */
export class BenchSandbox implements AsyncDisposable {
  readonly sandbox = new Sandbox(NAME);
  readonly #timeoutMs: number;
  #stack = new AsyncDisposableStack();
  #insider = 0;

  /** Resolves when everything in it is ready, and every proxy knows it all. */
  static async start(options: BenchSandboxOptions): Promise<BenchSandbox> {
    // A folder of its own: a run meets neither the user's sandboxes nor another run's.
    await using stack = new AsyncDisposableStack();
    const state = stack.use(new TemporaryFolder('state'));
    process.env['XDG_STATE_HOME'] = state.path;
    const started = new BenchSandbox(options.timeoutMs ?? TIMEOUT_MS);
    const onExit = (): void => {
      killSandbox(started.sandbox);
    };
    process.prependListener('exit', onExit); // before the folder goes that says whom to end
    stack.defer(async () => {
      await stopSandbox(NAME);
      process.off('exit', onExit);
    });
    await started.#start(options);
    started.#stack = stack.move();
    return started;
  }

  private constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  async #start(options: BenchSandboxOptions): Promise<void> {
    const { nodes, mesh, images, partEnvironment, yaml } = options;
    const settings = { name: NAME, dnsCapture: false, nodes, mesh, images, partEnvironment };
    const terminal = {
      ...{ out: () => undefined, note: () => undefined, interactive: false, colours: false },
      signal: new AbortController().signal,
    };
    const manifests = [{ source: 'bench.yaml', text: yaml }];
    const unsettled = await startMesh(settings, manifests, this.#timeoutMs, terminal);
    if (unsettled.length > 0) throw new Error(`Cannot start the mesh: ${unsettled.join('; ')}`);
    this.#insider = (await this.status()).supervisorPid;
    if (mesh) await this.pushed();
  }

  /** A process whose namespaces are the sandbox's own. */
  get insider(): number {
    return this.#insider;
  }

  status(): Promise<SandboxStatus> {
    return this.sandbox.status();
  }

  /** The path of a pod's network namespace; nothing where it has none yet. */
  async podNetns(namespace: string, name: string): Promise<string | undefined> {
    const [pod] = await this.sandbox.objects({ kind: 'Pod', namespace, name });
    const path = pod?.metadata.annotations?.[NETNS_ANNOTATION];
    return path === undefined ? undefined : this.fromOutside(path);
  }

  /** A path in the sandbox's own file system. */
  fromOutside(path: string): string {
    return `/proc/${this.#insider}/root${path}`;
  }

  /** Makes a command run in a network namespace, and in nothing else of the sandbox: see enterNetns(). */
  enter(netns: string, command: readonly string[]): string[] {
    return enterNetns(this.#insider, netns, command);
  }

  /** The processes of the sandbox that run a program, such as `waypoint/main.ts`, as /proc outside has them. */
  pidsRunning(program: string): number[] {
    return processTree(this.#insider).filter((pid) =>
      readProc(`/proc/${pid}/cmdline`)
        .split('\0')
        .some((argument) => argument.endsWith(program)),
    );
  }

  async apply(text: string): Promise<void> {
    const documents = [{ source: 'bench.yaml', text }];
    await this.sandbox.post<ApplyResponse>('/v1/apply', { documents });
  }

  /** Resolves when every part is ready, every pod runs and is captured as asked, and every proxy knows it all. */
  async settled(): Promise<void> {
    for (const what of ['ready', 'settled'] as const) {
      const { done, unsettled } = await this.sandbox.wait(what, this.#timeoutMs);
      if (!done) throw new Error(`Cannot go on: not ${what}: ${unsettled.join('; ')}`);
    }
    await this.pushed();
  }

  /** Resolves when every proxy has what the control plane knows; at once where there is none. */
  async pushed(): Promise<void> {
    const status = await this.status();
    if (!status.parts.some(({ kind }) => kind === 'istiod-lite')) return;
    const { done, laggards } = await waitForProxies(controlPlaneOf(status), this.#timeoutMs);
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
