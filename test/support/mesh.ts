import { join } from 'node:path';
import type { TestFn } from 'ava';
import { controlPlaneOf, ztunnelsOf } from '../../cli/parts.ts';
import { Sandbox } from '../../cli/sandbox.ts';
import { waitForProxies } from '../../cli/sync.ts';
import { runExec } from '../../cli/verbs/exec.ts';
import { startMesh as bringUp } from '../../cli/verbs/up.ts';
import {
  EXEC_PROTOCOL,
  type ApplyResponse,
  type KubernetesObject,
  type ObjectReference,
  type PartRequest,
  type PodStatusLine,
  type SandboxSettings,
} from '../../deploy/sandbox/api.ts';
import { stopSandbox } from '../../deploy/sandbox/launch.ts';
import { fetchAdmin, fetchAdminJson } from '../../mesh/admin/client.ts';
import {
  CAPTURE_COMMAND,
  captureBeside,
  captureWhile,
  FrameReader,
  sendMark,
  type Wire,
} from './mesh-capture.ts';
import { Metrics } from './mesh-metrics.ts';
import { PeerHub, type Peer } from './mesh-peer.ts';
import { AccessRecords, type AccessRecord, type RecordPattern } from './mesh-records.ts';
import { watchObjects } from './mesh-watch.ts';
import { AMBIENT, PEER_IMAGE, uniqueDocuments } from './mesh-yaml.ts';
import { endWithProcess, useOwnState } from './own-state.ts';

const START_TIMEOUT_MS = 40_000;
const SETTLE_TIMEOUT_MS = 20_000;

/** As peers call themselves. */
export const OUTSIDE = 'outside';

export type MeshOptions = Readonly<{
  /** 2 unless told otherwise. */
  nodes?: number;
  /** Applied at the start; pods with the image `test/peer` run a scripted peer. */
  yaml: string;
  settings?: Partial<SandboxSettings>;
}>;

/** What a command in a pod said and how it ended. */
export type ExecAnswer = Readonly<{ code: number; stdout: string; stderr: string }>;

/**
 * A mesh for all tests of a file: starts before the first one, as `halo up` does, and ends after the last one,
 * whatever becomes of them.
 */
export function startMesh(test: TestFn, options: MeshOptions): Mesh {
  const mesh = new Mesh(options);
  // One hook after another: those of the file come after it.
  test.serial.before('the mesh starts', () => mesh.start());
  test.after.always('the mesh ends', () => mesh.stop());
  return mesh;
}

/** A sandbox with a whole mesh, and what a scenario does to it and sees of it. Pods are named `<namespace>/<pod>`. */
export class Mesh implements AsyncDisposable {
  readonly #options: MeshOptions;
  readonly #home: string;
  readonly name: string;
  readonly sandbox: Sandbox;
  readonly #records = new AccessRecords();
  readonly #abort = new AbortController();
  #hub: PeerHub | undefined;
  #endsWithProcess: (() => void) | undefined;

  constructor(options: MeshOptions, name = 'mesh') {
    this.#options = options;
    this.#home = useOwnState();
    this.name = name;
    this.sandbox = new Sandbox(name);
  }

  async start(): Promise<void> {
    this.#endsWithProcess = endWithProcess(this.name);
    this.#hub = await PeerHub.listen(join(this.#home, `${this.name}.sock`));
    const settings: SandboxSettings = {
      ...{ name: this.name, nodes: this.#options.nodes ?? 2, mesh: true, dnsCapture: false },
      ...this.#options.settings,
      images: { [PEER_IMAGE]: this.#hub.command, ...this.#options.settings?.images },
      partEnvironment: this.#options.settings?.partEnvironment ?? {},
    };
    const terminal = {
      ...{ out: () => undefined, note: () => undefined, interactive: false, colours: false },
      signal: this.#abort.signal,
    };
    const manifests = [{ source: 'scenario.yaml', text: uniqueDocuments(this.#options.yaml) }];
    const unsettled = await bringUp(settings, manifests, START_TIMEOUT_MS, terminal);
    if (unsettled.length > 0) throw new Error(`not ready: ${unsettled.join('; ')}`);
    for (let index = 1; index <= settings.nodes; index++)
      this.#records.follow(this.sandbox, `node-${index}`);
    await this.settled();
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    this.#records.close();
    this.#hub?.close();
    await stopSandbox(this.name);
    this.#endsWithProcess?.();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** Applies YAML, and waits until all of it holds everywhere. */
  async apply(...yaml: readonly string[]): Promise<void> {
    await this.applySoon(...yaml);
    await this.settled();
  }

  /** Applies YAML and does not wait, such as for pods that are ready when a test says so. */
  async applySoon(...yaml: readonly string[]): Promise<void> {
    const documents = [{ source: 'scenario.yaml', text: uniqueDocuments(yaml.join('\n---\n')) }];
    await this.sandbox.post<ApplyResponse>('/v1/apply', { documents });
  }

  async delete(kind: string, name: string, namespace = 'shop'): Promise<void> {
    await this.deleteSoon(kind, name, namespace);
    await this.settled();
  }

  /** Asks for the end of an object and does not wait for it. */
  async deleteSoon(kind: string, name: string, namespace = 'shop'): Promise<void> {
    const object: ObjectReference =
      kind === 'Namespace' ? { kind, name } : { kind, name, namespace };
    await this.sandbox.post('/v1/delete', { objects: [object] });
  }

  /** Sets labels (null removes one) of a namespace or of a pod (`<namespace>/<pod>`), and waits. */
  async label(object: string, labels: Readonly<Record<string, string | null>>): Promise<void> {
    const [first = '', name] = object.split('/');
    const reference =
      name === undefined
        ? { kind: 'Namespace', name: first }
        : { kind: 'Pod', namespace: first, name };
    await this.sandbox.post('/v1/label', { object: reference, labels });
    await this.settled();
  }

  /** Takes a namespace into the mesh, or out of it. */
  async enrol(namespace: string, wanted = true): Promise<void> {
    const labels = Object.keys(AMBIENT).map((key) => [key, wanted ? (AMBIENT[key] ?? '') : null]);
    await this.label(namespace, Object.fromEntries(labels) as Record<string, string | null>);
  }

  /** Every part is ready, every pod runs and is captured as asked, and every proxy has acknowledged all of it. */
  async settled(): Promise<void> {
    for (const what of ['ready', 'settled'] as const) {
      const { done, unsettled } = await this.sandbox.wait(what, SETTLE_TIMEOUT_MS);
      if (!done) throw new Error(`not ${what}: ${unsettled.join('; ')}`);
    }
    await this.pushed();
  }

  /** Every proxy has acknowledged all that was written until now. */
  async pushed(): Promise<void> {
    const status = await this.sandbox.status();
    const { done, laggards } = await waitForProxies(controlPlaneOf(status), SETTLE_TIMEOUT_MS);
    if (done) return;
    throw new Error(
      `not everywhere: ${laggards.map((one) => `${one.proxy}: ${one.reason}`).join()}`,
    );
  }

  /** Kills the containers of a pod as a crash would: their sockets go with them, and nobody is told. */
  async kill(pod: string): Promise<void> {
    const [namespace = '', name = ''] = pod.split('/');
    await this.sandbox.post('/v1/kill', { namespace, pod: name });
  }

  async part(name: string, action: PartRequest['action']): Promise<void> {
    await this.sandbox.post('/v1/parts', { name, action });
  }

  /** The scripted peer in a pod; of namespace `shop` unless it has a slash. */
  async peer(pod: string): Promise<Peer> {
    if (this.#hub === undefined) throw new Error('the mesh has not started');
    try {
      return await this.#hub.peer(pod.includes('/') ? pod : `shop/${pod}`);
    } catch (cause) {
      const { phase, detail = '' } = await this.pod(pod);
      throw new Error(`pod ${pod} has no peer; it is ${phase} ${detail}`, { cause });
    }
  }

  /** A scripted peer in the namespace on the sandbox's network that is no pod. */
  async outside(name = OUTSIDE): Promise<Peer> {
    if (this.#hub === undefined) throw new Error('the mesh has not started');
    const command = [...this.#hub.command, `${OUTSIDE}/${name}`];
    void this.exec(OUTSIDE, command).catch(() => undefined); // it lasts as long as the mesh
    return this.#hub.peer(`${OUTSIDE}/${name}`);
  }

  /** Runs a command in a pod, or OUTSIDE, to its end. */
  async exec(pod: string, command: readonly string[]): Promise<ExecAnswer> {
    const output = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
    const code = await this.#exec(pod, command, {
      out: (chunk) => output.stdout.push(Buffer.from(chunk)),
      note: (chunk) => output.stderr.push(Buffer.from(chunk)),
    });
    const [stdout, stderr] = [output.stdout, output.stderr].map((chunks) =>
      Buffer.concat(chunks).toString(),
    );
    return { code, stdout: stdout ?? '', stderr: stderr ?? '' };
  }

  async pod(pod: string): Promise<PodStatusLine> {
    const [namespace, name] = pod.includes('/') ? pod.split('/') : ['shop', pod];
    const { pods } = await this.sandbox.status();
    const found = pods.find((one) => one.namespace === namespace && one.name === name);
    if (found === undefined) throw new Error(`no pod ${pod}`);
    return found;
  }

  /** The address of a pod. */
  async ip(pod: string, family: 4 | 6 = 4): Promise<string> {
    const { addresses } = await this.pod(pod);
    const found = addresses.find((address) => address.includes(':') === (family === 6));
    if (found === undefined) throw new Error(`pod ${pod} has no IPv${family} address`);
    return found;
  }

  async object(kind: string, name: string, namespace = 'shop'): Promise<KubernetesObject> {
    const [found] = await this.sandbox.objects({ kind, namespace, name });
    if (found === undefined) throw new Error(`no ${kind} ${namespace}/${name}`);
    return found;
  }

  /** Waits until an object of that kind is as wanted, and answers with it. */
  watch(
    kind: string,
    isWanted: (object: KubernetesObject) => boolean,
    what: string,
  ): Promise<KubernetesObject> {
    return watchObjects(this.sandbox, kind, isWanted, what);
  }

  /** The address of a Service. */
  async vip(service: string, family: 4 | 6 = 4, namespace = 'shop'): Promise<string> {
    const { spec } = (await this.object('Service', service, namespace)) as KubernetesObject & {
      spec: { clusterIPs: readonly string[] };
    };
    const found = spec.clusterIPs.find((address) => address.includes(':') === (family === 6));
    if (found === undefined) throw new Error(`Service ${service} has no IPv${family} address`);
    return found;
  }

  /** A point in time, for the records of connections that begin after it. */
  mark(): number {
    return Date.now();
  }

  /** What all proxies have written so far of connections that began since a mark. */
  recordsSince(mark: number): AccessRecord[] {
    return this.#records.since(mark);
  }

  /** What all proxies have written so far, which is forgotten: for what runs longer than memory lasts. */
  takeRecords(): AccessRecord[] {
    return this.#records.take();
  }

  /** The first record of a connection since the mark that has these values, as soon as it is written. */
  record(pattern: RecordPattern, mark = 0): Promise<AccessRecord> {
    return this.#records.first(pattern, mark);
  }

  /** That many records of connections since the mark with these values, as soon as they are written. */
  records(pattern: RecordPattern, mark: number, count: number): Promise<AccessRecord[]> {
    return this.#records.all(pattern, mark, count);
  }

  /** The metrics of a node's ztunnel now. */
  async metrics(node: string): Promise<Metrics> {
    const { body } = await fetchAdmin(await this.#admin(node), '/metrics');
    return new Metrics(body);
  }

  /** An admin page of a node's ztunnel, such as `/config_dump`. */
  async page(node: string, path: string): Promise<unknown> {
    return fetchAdminJson(await this.#admin(node), path);
  }

  /**
   * What crosses the sandbox's bridge while `action` runs: all traffic between nodes, and from and to the outside.
   *
   * @param marker a peer OUTSIDE, which ends the capture with a datagram.
   */
  async onBridge(marker: Peer, action: () => Promise<void>): Promise<Wire> {
    const reader = new FrameReader();
    const { supervisorPid } = await this.sandbox.status();
    const end = captureBeside(supervisorPid, reader);
    try {
      return await captureWhile(reader, action, (text) => sendMark(marker, '172.18.0.1', text));
    } finally {
      end();
    }
  }

  /** What a pod sends and receives while `action` runs, itself apart. */
  async atPod(pod: string, action: () => Promise<void>): Promise<Wire> {
    const reader = new FrameReader();
    const abort = new AbortController();
    const output = {
      out: (chunk: string | Uint8Array) => {
        reader.take(Buffer.from(chunk));
      },
      note: () => undefined,
    };
    const running = this.#exec(pod, CAPTURE_COMMAND, output, abort.signal).catch(() => undefined);
    try {
      const peer = await this.peer(pod);
      const node = Number((await this.pod(pod)).node.replace('node-', ''));
      const gateway = `10.244.${node * 16}.1`;
      return await captureWhile(reader, action, (text) => sendMark(peer, gateway, text));
    } finally {
      abort.abort();
      await running;
    }
  }

  async #exec(
    pod: string,
    command: readonly string[],
    terminal: Parameters<typeof runExec>[1],
    signal = this.#abort.signal,
  ): Promise<number> {
    const [namespace, name] = pod.includes('/') ? pod.split('/') : ['shop', pod];
    const target = pod === OUTSIDE ? { outside: true } : { namespace, pod: name };
    const query = { ...target, command };
    const socket = await this.sandbox.upgrade('/v1/exec', query, EXEC_PROTOCOL, signal);
    const end = (): void => void socket.destroy();
    signal.addEventListener('abort', end);
    try {
      return await runExec(socket, terminal);
    } finally {
      signal.removeEventListener('abort', end);
    }
  }

  async #admin(node: string): Promise<{ kind: 'unix'; path: string }> {
    const [part] = ztunnelsOf(await this.sandbox.status(), node);
    return { kind: 'unix', path: part?.adminSocket ?? '' };
  }

  /** The last resort of a test file that ends without its hooks: all inside ends with the process outside. */
}
