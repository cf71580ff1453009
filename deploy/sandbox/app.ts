import { randomUUID } from 'node:crypto';
import { request } from 'node:http';
import { describeError, MeshError } from '../../base/errors.ts';
import type {
  KubernetesObject,
  KillRequest,
  LabelRequest,
  SandboxEvent,
  SandboxPaths,
  SandboxSettings,
  SandboxStatus,
  ScaleRequest,
  RestartRequest,
} from './api.ts';
import { pause } from './backoff.ts';
import { Cluster } from './cluster.ts';
import { serveControl, type ControlledSandbox } from './control-server.ts';
import { RESTARTED_AT } from './deployments.ts';
import { isRecord } from './documents.ts';
import { makeFolder } from './files.ts';
import { resolveKind } from './kinds.ts';
import { netnsPath } from './networks.ts';
import { listParts, nodeSockets } from './part-list.ts';
import { Part } from './parts.ts';
import { podIps } from './pod-status.ts';
import { describePod, findUnenrolled, findUnsettled } from './status.ts';
import { formatReference, timestamp, withMetadata } from './store.ts';
import { TokenSigner } from './tokens.ts';

/** Events that are kept for the sentence in status; older ones are in the log. */
const MAX_PROBLEMS = 20;
/** Annotation by which the node agent is asked to end the connections that it left open at enrolment. */
const RESET_OPEN_ANNOTATION = 'halo.dev/reset-open';
/** Pods get this long to end when the whole sandbox does. */
const STOP_GRACE_MS = 3000;
const AGENT_RETRY_MS = 100;
const AGENT_TIMEOUT_MS = 30_000;

/** A running sandbox: the cluster, the parts of the mesh, and what is told about both. */
export class Sandbox implements ControlledSandbox {
  readonly settings: SandboxSettings;
  readonly paths: SandboxPaths;
  readonly cluster: Cluster;
  readonly parts: Part[] = [];
  readonly #listeners = new Set<(event: SandboxEvent) => void>();
  readonly #lookers = new Set<() => void>();
  readonly #problems: string[] = [];
  readonly #startedAt = timestamp();
  readonly #tokens: TokenSigner;
  #checkQueued = false;
  #stopping: Promise<void> | undefined;

  private constructor(
    settings: SandboxSettings,
    paths: SandboxPaths,
    { cluster, tokens }: Readonly<{ cluster: Cluster; tokens: TokenSigner }>,
  ) {
    this.settings = settings;
    this.paths = paths;
    this.cluster = cluster;
    this.#tokens = tokens;
  }

  /** Makes the nodes, opens the control socket, starts the parts. */
  static async start(settings: SandboxSettings, paths: SandboxPaths): Promise<Sandbox> {
    const made: { sandbox?: Sandbox } = {};
    for (const folder of [paths.parts, paths.nodes, paths.pods, paths.logs]) makeFolder(folder);
    const tokens = await TokenSigner.create(paths.jwks);
    const cluster = await Cluster.create({
      ...{ settings, paths, captures: settings.mesh, tokens },
      addToMesh: (node, pod, netns, signal) =>
        settings.mesh ? tellAgent(paths, node, pod, netns, signal) : Promise.resolve(),
      onProblem: (message) => {
        made.sandbox?.addProblem(message);
      },
    });
    const sandbox = new Sandbox(settings, paths, { cluster, tokens });
    made.sandbox = sandbox;
    await sandbox.#startParts();
    return sandbox;
  }

  get status(): SandboxStatus {
    const { store, nodes } = this.cluster;
    const unsettled = this.unsettled();
    const pods = store.list('Pod').map(describePod);
    return {
      name: this.settings.name,
      startedAt: this.#startedAt,
      ready: this.#isReady(),
      settled: unsettled.length === 0,
      unsettled,
      parts: this.parts.map((part) => part.status),
      nodes: nodes.map(({ name, ips, podCidrs }) => ({
        name,
        addresses: ips,
        podCidrs: podCidrs.map((cidr) => `${cidr.ip}/${cidr.prefix}`),
        netns: netnsPath(name),
        pods: pods.filter((pod) => pod.node === name).length,
      })),
      pods,
      problems: this.#problems,
      paths: this.paths,
      supervisorPid: 0, // filled in by the control server, which reads it from the launcher's file
    };
  }

  #isReady(): boolean {
    return this.parts.every((part) => part.status.state === 'ready');
  }

  unsettled(): string[] {
    const waiting = this.parts
      .filter((part) => part.status.state !== 'ready')
      .map(({ status }) => `${status.name} is ${status.state}`);
    const { store } = this.cluster;
    return [...waiting, ...findUnsettled(store, this.settings.mesh), ...this.#busyText()];
  }

  unenrolled(): string[] {
    if (!this.settings.mesh) return [];
    return [...findUnenrolled(this.cluster.store), ...this.#busyText()];
  }

  #busyText(): string[] {
    return this.cluster.busy ? ['the controllers are at work'] : [];
  }

  /** @returns how to stop listening. */
  onEvent(listener: (event: SandboxEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /**
   * Whoever waits for a state looks after every change of anything, and once soon: work that has begun and ended in between
   * would be missed by who only heard of changes.
   *
   * @returns how to stop looking.
   */
  onCheck(look: () => void): () => void {
    this.#lookers.add(look);
    this.#queueCheck();
    return () => {
      this.#lookers.delete(look);
    };
  }

  addProblem(message: string): void {
    console.error(message);
    if (this.#problems.at(-1) === message) return;
    this.#problems.push(message);
    if (this.#problems.length > MAX_PROBLEMS) this.#problems.shift();
    this.#tell({ type: 'problem', message });
  }

  /** Labels or annotates an object; `uid`, where given, must still be its own. */
  label(request: LabelRequest): KubernetesObject {
    const { store } = this.cluster;
    const reference = { ...request.object, kind: resolveKind(request.object.kind) };
    const object = store.mustGet(reference);
    if (request.uid !== undefined && request.uid !== object.metadata.uid) {
      const message = `Cannot label ${formatReference(reference)}: it is another one by now`;
      throw new MeshError('ERR_NOT_FOUND', 'local', message);
    }
    const reset =
      request.resetOpen === true ? { [RESET_OPEN_ANNOTATION]: randomUUID() } : undefined;
    // A namespace's wish concerns each of its pods.
    const pods =
      reset !== undefined && object.kind === 'Namespace'
        ? store.list('Pod', object.metadata.name)
        : [];
    for (const pod of pods) store.put(withMetadata(pod, { annotations: reset ?? {} }));
    return store.put(
      withMetadata(object, {
        ...(request.labels !== undefined && { labels: request.labels }),
        annotations: {
          ...request.annotations,
          ...(object.kind === 'Pod' ? reset : undefined),
        },
      }),
    );
  }

  scale(request: ScaleRequest): KubernetesObject {
    const { store } = this.cluster;
    const { namespace, name, replicas } = request;
    const deployment = store.mustGet({ kind: 'Deployment', namespace, name });
    const spec = isRecord(deployment['spec']) ? deployment['spec'] : {};
    return store.put({ ...deployment, spec: { ...spec, replicas } });
  }

  restart(request: RestartRequest): KubernetesObject {
    const { store } = this.cluster;
    const { namespace, name } = request;
    const deployment = store.mustGet({ kind: 'Deployment', namespace, name });
    const spec = isRecord(deployment['spec']) ? deployment['spec'] : {};
    const template = isRecord(spec['template']) ? spec['template'] : {};
    const metadata = isRecord(template['metadata']) ? template['metadata'] : {};
    const annotations = isRecord(metadata['annotations']) ? metadata['annotations'] : {};
    const marked = { ...metadata, annotations: { ...annotations, [RESTARTED_AT]: randomUUID() } };
    return store.put({
      ...deployment,
      spec: { ...spec, template: { ...template, metadata: marked } },
    });
  }

  /** Kills the containers of a pod. */
  async kill({ namespace, pod }: KillRequest): Promise<object> {
    const runner = this.cluster.pods.runner(namespace, pod);
    if (runner === undefined) {
      const message = `Cannot kill ${namespace}/${pod}: no such pod runs here`;
      throw new MeshError('ERR_NOT_FOUND', 'local', message);
    }
    await runner.kill();
    return {};
  }

  /** Ends pods, then parts, so that the mesh sees its pods off. Idempotent. */
  stop(): Promise<void> {
    this.#stopping ??= (async () => {
      await this.cluster.close(STOP_GRACE_MS);
      await Promise.all(this.parts.map((part) => part.stop(STOP_GRACE_MS)));
      this.#tokens.close();
    })();
    return this.#stopping;
  }

  async #startParts(): Promise<void> {
    const { cluster, settings, paths } = this;
    const { nodes, ipv6, store } = cluster;
    const tokens = this.#tokens;
    const specs = await listParts({ settings, paths, nodes, ipv6, store, tokens });
    for (const spec of specs)
      this.parts.push(
        new Part(spec, (part) => {
          this.#tell({ type: 'part', part: part.status });
          this.#queueCheck();
        }),
      );
    store.onChange(() => {
      this.#queueCheck();
    });
    await serveControl(this);
    for (const part of this.parts) part.start();
    this.#queueCheck();
  }

  #queueCheck(): void {
    if (this.#checkQueued) return;
    this.#checkQueued = true;
    // The controllers run in between; while they are at work, another change or this timer looks again.
    setTimeout(() => {
      this.#checkQueued = false;
      this.#check();
    }, 5);
  }

  #check(): void {
    for (const look of this.#lookers) look();
    if (this.cluster.busy) this.#queueCheck();
  }

  #tell(event: SandboxEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}

/**
 * What kubelet asks of a CNI plugin before a pod's containers start: the node's agent answers when the pod is captured,
 * or need not be. While there is no answer the pod does not start, so none starts uncaptured.
 */
async function tellAgent(
  paths: SandboxPaths,
  node: string,
  pod: KubernetesObject,
  netns: string,
  signal: AbortSignal,
): Promise<void> {
  const socketPath = nodeSockets(paths, node).pluginEvents;
  const body = JSON.stringify({
    Netns: netns,
    PodName: pod.metadata.name,
    PodNamespace: pod.metadata.namespace,
    IPs: podIps(pod).map((ip) => ({ Interface: 0, Address: { IP: ip } })),
  });
  let said = '';
  while (!signal.aborted) {
    const status = await postOnce(socketPath, '/cmdadd', body, signal).catch((error: unknown) => {
      const text = describeError(error);
      if (text !== said && !text.includes('ENOENT'))
        console.error(`${node}: cannot add ${pod.metadata.name}: ${text}`);
      said = text;
      return 0;
    });
    if (status === 200) return;
    await pause(AGENT_RETRY_MS, signal);
  }
}

function postOnce(
  socketPath: string,
  path: string,
  body: string,
  signal: AbortSignal,
): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const limit = AbortSignal.any([signal, AbortSignal.timeout(AGENT_TIMEOUT_MS)]);
  const options = { socketPath, path, method: 'POST', agent: false, signal: limit } as const;
  const asked = request(options, (response) => {
    response.resume();
    resolve(response.statusCode ?? 0);
  });
  asked.on('error', reject);
  asked.end(body);
  return promise;
}
