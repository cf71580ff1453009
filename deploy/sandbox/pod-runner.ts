import { spawn } from 'node:child_process';
import { join } from 'node:path';
import type { IpAddress } from '../../base/address.ts';
import { describeError } from '../../base/errors.ts';
import type { Netns } from '../../net/netns.ts';
import { CLUSTER_DNS_VIP, type NodeAddresses } from './addresses.ts';
import { podAdminSocket, type KubernetesObject, type SandboxPaths } from './api.ts';
import { pause, RestartBackoff } from './backoff.ts';
import {
  baseEnvironment,
  describeEnd,
  endOf,
  startContainer,
  type ContainerPlace,
  type ContainerProcess,
  type ProcessEnd,
} from './container.ts';
import { buildEnvironment, downwardField } from './environment.ts';
import { makeFolder, writeFileAtomic } from './files.ts';
import { compileCache } from './compile-cache.ts';
import { containerCommand, WAYPOINT_IMAGE, withoutTag } from './images.ts';
import { LogFile } from './log-file.ts';
import {
  connectPodNamespace,
  createPodNamespace,
  deletePodNetwork,
  netnsPath,
} from './networks.ts';
import { localPath, wantsToken } from './pod-volumes.ts';
import { namedPort, podSpecOf, type ContainerSpec, type PodSpec } from './pod-spec.ts';
import {
  waitingContainer,
  type ContainerState,
  type PodPhase,
  type PodState,
} from './pod-status.ts';
import { checkOnce, watchReadiness, type ProbeTarget } from './probe.ts';
import { timestamp } from './store.ts';
import type { KeptToken, TokenSigner } from './tokens.ts';

/** The last exit of a pod's network from its node: how long the agent may take to say goodbye for it. */
const RELEASE_WAIT_MS = 2000;

export type PodRunnerParts = Readonly<{
  paths: SandboxPaths;
  node: NodeAddresses;
  nodeNetns: Netns;
  images: ReadonlyMap<string, readonly string[]>;
  tokens: TokenSigner;
  /** What the containers of waypoints find in their environment, before their own settings. */
  waypointEnvironment: Readonly<Record<string, string>>;
  /** What a CNI plugin does: resolves when the pod may start, because its capture stands or was not asked for. */
  addToMesh: (pod: KubernetesObject, netns: string, signal: AbortSignal) => Promise<void>;
  /** Told each new state; writes it into the object. */
  onState: (state: PodState) => void;
  /** Resolves when the node agent has let the pod go, or has nothing to let go. */
  released: (signal: AbortSignal) => Promise<void>;
}>;

type Running = { spec: ContainerSpec; process: ContainerProcess; place: ContainerPlace };

/**
 * One pod's life on its node, as kubelet leads it:
 *
 *   network -> capture -> init containers in order -> containers, each restarted by policy -> (delete) -> all ended
 */
export class PodRunner {
  readonly pod: KubernetesObject;
  readonly netnsName: string;
  readonly netns: string;
  readonly #spec: PodSpec;
  readonly #parts: PodRunnerParts;
  readonly #ips: readonly IpAddress[];
  readonly #abort = new AbortController();
  readonly #ended = new AbortController();
  readonly #running = new Map<string, Running>();
  readonly #logs = new Map<string, LogFile>();
  readonly #sidecars: Promise<unknown>[] = [];
  readonly #folder: string;
  readonly #done: Promise<void>;
  #state: PodState;
  #token: KeptToken | undefined;

  /** @throws {MeshError} ERR_POD_SPEC; nothing has been made then. */
  constructor(pod: KubernetesObject, ips: readonly IpAddress[], parts: PodRunnerParts) {
    const uid = pod.metadata.uid ?? '';
    this.pod = pod;
    this.#parts = parts;
    this.#ips = ips;
    this.#spec = podSpecOf(pod);
    this.netnsName = `pod-${uid.replaceAll('-', '').slice(0, 14)}`;
    this.netns = netnsPath(this.netnsName);
    this.#folder = join(parts.paths.pods, uid);
    this.#state = {
      phase: 'Pending',
      ips: [],
      hostIps: parts.node.ips,
      startedAt: timestamp(),
      initialized: this.#spec.initContainers.length === 0,
      init: this.#spec.initContainers.map(({ name, image }) => waitingContainer(name, image)),
      containers: this.#spec.containers.map(({ name, image }) => waitingContainer(name, image)),
    };
    this.#done = this.#run();
  }

  get state(): PodState {
    return this.#state;
  }

  get nodeName(): string {
    return this.#parts.node.name;
  }

  /** Given when the last container of the pod has ended; what else runs in it ends too. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  get spec(): PodSpec {
    return this.#spec;
  }

  /** The log of a container, the first unless named; undefined when it has not begun. */
  log(container?: string): LogFile | undefined {
    return this.#logs.get(container ?? this.#spec.containers[0]?.name ?? '');
  }

  /** The command that runs another one inside a running container, and its environment. */
  execCommand(
    container: string | undefined,
    command: readonly string[],
  ): { command: string[]; environment: Map<string, string> } | undefined {
    const name = container ?? this.#spec.containers[0]?.name ?? '';
    const running = this.#running.get(name);
    if (running === undefined) return undefined;
    const { process, spec } = running;
    const inside = ['sh', '-c', 'cd "$1" && shift && exec "$@"', 'sh', spec.workingFolder];
    const enter = ['nsenter', '-t', String(process.pid), '--net', '--mount', '--uts'];
    return { command: [...enter, ...inside, ...command], environment: this.#environment(spec) };
  }

  /** Ends the containers that run as a crash would; resolves when they have ended. */
  async kill(): Promise<void> {
    const running = [...this.#running.values()];
    for (const { process } of running) process.kill('SIGKILL');
    await Promise.all(running.map(({ process }) => process.exited));
  }

  /** Ends the containers, the capture and the network, in this order; resolves when nothing is left. Never rejects. */
  async stop(graceMs = this.#spec.terminationGraceMs): Promise<void> {
    this.#abort.abort();
    const grace = setTimeout(() => {
      for (const { process } of this.#running.values()) process.kill('SIGKILL');
    }, graceMs);
    await Promise.all([...this.#running.values()].map((running) => this.#end(running, graceMs)));
    await this.#done;
    await Promise.all(this.#sidecars);
    clearTimeout(grace);
    this.#ended.abort();
    // Its capture goes while the network still stands, so that peers hear the end of its connections.
    await this.#parts.released(AbortSignal.timeout(RELEASE_WAIT_MS));
    await deletePodNetwork(this.netnsName, this.#parts.node).catch(() => undefined); // was never made
    for (const log of this.#logs.values()) log.close();
    this.#token?.[Symbol.dispose]();
  }

  /** Its hook first, which has as long as all of the end; then the signal. */
  async #end({ spec, process }: Running, graceMs: number): Promise<void> {
    const { preStop } = spec;
    if (preStop !== undefined) {
      const over = new AbortController();
      void process.exited.then(() => {
        over.abort();
      });
      const limit = AbortSignal.any([over.signal, AbortSignal.timeout(graceMs)]);
      if (preStop.kind === 'sleep') await pause(preStop.ms, limit);
      else {
        const probe = { action: preStop, timeoutMs: graceMs };
        const failure = await checkOnce(probe, this.#probeTarget(spec));
        if (failure !== undefined) this.#openLog(spec.name).note(`preStop: ${failure}`);
      }
    }
    process.kill('SIGTERM');
  }

  #probeTarget(container: ContainerSpec): ProbeTarget {
    return {
      ip: this.#ips[0] ?? CLUSTER_DNS_VIP,
      nodeNetns: this.#parts.nodeNetns,
      portOf: (name) =>
        container.ports.find((port) => port.name === name)?.port ?? namedPort(this.#spec, name),
      exec: (probe, timeoutMs) => this.#execProbe(container.name, probe, timeoutMs),
    };
  }

  async #run(): Promise<void> {
    try {
      await createPodNamespace(this.netnsName);
      // With the addresses the node's agent learns of the pod: its rules need no interface, so it works meanwhile.
      this.#change({ ips: this.#ips });
      await connectPodNamespace(this.netnsName, this.#parts.node, this.#ips);
      this.#writeFiles();
      if (wantsToken(this.#spec)) this.#token = await this.#keepToken();
      await this.#parts.addToMesh(this.pod, this.netns, this.#abort.signal);
      if (!(await this.#runInitContainers())) return;
      this.#change({ phase: 'Running', initialized: true });
      const ends = await Promise.all(
        this.#spec.containers.map((container) => this.#keepRunning(container, 'containers')),
      );
      // What goes on beside them (sidecars) has nobody left to serve.
      this.#abort.abort();
      for (const { process } of this.#running.values()) process.kill('SIGTERM');
      this.#finish(ends.every((end) => end.code === 0) ? 'Succeeded' : 'Failed');
    } catch (error) {
      this.#finish('Failed', describeError(error));
    }
  }

  /** @returns false when one failed for good, or the pod is to end. */
  async #runInitContainers(): Promise<boolean> {
    for (const container of this.#spec.initContainers) {
      if (this.#abort.signal.aborted) break;
      if (container.sidecar) {
        this.#sidecars.push(this.#keepRunning(container, 'init'));
        continue;
      }
      const end = await this.#keepRunning(container, 'init');
      if (end.code === 0) continue;
      this.#finish('Failed', `init container ${container.name} failed`);
      return false;
    }
    if (this.#abort.signal.aborted) this.#finish('Failed');
    return !this.#abort.signal.aborted;
  }

  /** Runs a container until its policy lets it rest; its last end. Never rejects. */
  async #keepRunning(container: ContainerSpec, list: 'init' | 'containers'): Promise<ProcessEnd> {
    const { signal } = this.#abort;
    const backoff = new RestartBackoff();
    const policy = container.sidecar ? 'Always' : this.#spec.restartPolicy;
    for (let restarts = 0; ; restarts++) {
      const startedAtMs = Date.now();
      const end = await this.#runOnce(container, list, restarts);
      const failed = end.code !== 0;
      // An init container has done its work once; `Always` means the containers after it.
      const again =
        !signal.aborted &&
        (failed
          ? policy !== 'Never'
          : policy === 'Always' && (list === 'containers' || container.sidecar));
      const reason = again ? 'CrashLoopBackOff' : failed ? 'Error' : 'Completed';
      this.#changeContainer(list, container.name, {
        ...{ state: again ? 'waiting' : 'terminated', reason, ready: false },
        ...{ message: describeEnd(end), exitCode: end.code },
      });
      if (!again || !(await pause(backoff.next(Date.now() - startedAtMs), signal))) return end;
    }
  }

  async #runOnce(
    container: ContainerSpec,
    list: 'init' | 'containers',
    restarts: number,
  ): Promise<ProcessEnd> {
    const log = this.#openLog(container.name);
    const { images } = this.#parts;
    let command: readonly string[];
    try {
      command = containerCommand(container, images);
    } catch (error) {
      log.note(describeError(error));
      return { code: 128, error: describeError(error) };
    }
    const place: ContainerPlace = {
      netns: this.netns,
      hostname: this.#hostname(),
      resolvConf: join(this.#folder, 'resolv.conf'),
      hosts: join(this.#folder, 'hosts'),
    };
    const environment = this.#environment(container);
    const process = startContainer(place, container.workingFolder, command, environment, log);
    this.#running.set(container.name, { spec: container, process, place });
    // A stop that came while it started has not seen it.
    if (this.#abort.signal.aborted) process.kill('SIGTERM');
    const ended = new AbortController();
    const { readinessProbe } = container;
    this.#changeContainer(list, container.name, {
      ...{ state: 'running', reason: '', message: '', restarts, startedAt: timestamp() },
      ready: readinessProbe === undefined,
    });
    if (readinessProbe !== undefined)
      void watchReadiness(
        readinessProbe,
        this.#probeTarget(container),
        (ready, message) => {
          if (!ended.signal.aborted)
            this.#changeContainer(list, container.name, { ready, message });
        },
        ended.signal,
      );
    const end = await process.exited;
    ended.abort();
    this.#running.delete(container.name);
    return end;
  }

  #execProbe(container: string, command: readonly string[], timeoutMs: number): Promise<number> {
    const exec = this.execCommand(container, command);
    if (exec === undefined) return Promise.resolve(128);
    const [program = '', ...args] = exec.command;
    return new Promise((resolve) => {
      const env = Object.fromEntries(exec.environment);
      const options = { env, stdio: 'ignore', timeout: timeoutMs, killSignal: 'SIGKILL' } as const;
      const child = spawn(program, args, options);
      child.on('error', () => {
        resolve(128);
      });
      child.on('exit', (code, signal) => {
        resolve(endOf(code, signal).code);
      });
    });
  }

  #environment(container: ContainerSpec): Map<string, string> {
    const addresses = { podIps: this.#ips, hostIps: this.#parts.node.ips };
    const base = baseEnvironment({
      HOSTNAME: this.#hostname(),
      NODE_COMPILE_CACHE: compileCache(this.#parts.paths.root),
      ...(withoutTag(container.image) === WAYPOINT_IMAGE && this.#waypointEnvironment()),
    });
    const environment = buildEnvironment(base, container.environment, (path) =>
      downwardField(path, this.pod, addresses),
    );
    const sources = {
      token: this.#token?.path ?? '',
      rootCertificate: this.#parts.paths.rootCertificate,
    };
    for (const { name } of container.environment)
      environment.set(name, localPath(environment.get(name) ?? '', this.#spec, container, sources));
    return environment;
  }

  /** As our own parts have it: logs for programs, pages on a socket that the host reaches. */
  #waypointEnvironment(): Record<string, string> {
    const { paths, waypointEnvironment } = this.#parts;
    const adminSocket = podAdminSocket(paths, this.pod.metadata.uid ?? '');
    return { LOG_FORMAT: 'json', ADMIN_UDS: adminSocket, ...waypointEnvironment };
  }

  #keepToken(): Promise<KeptToken> {
    const { namespace = '', name, uid = '' } = this.pod.metadata;
    const { serviceAccountName: serviceAccount } = this.#spec;
    return this.#parts.tokens.keep(this.#folder, {
      ...{ namespace, serviceAccount, pod: { name, uid }, node: this.nodeName },
    });
  }

  #hostname(): string {
    // Linux has room for 64 bytes; Kubernetes cuts at 63 too.
    return (this.#spec.hostname === '' ? this.pod.metadata.name : this.#spec.hostname).slice(0, 63);
  }

  #openLog(container: string): LogFile {
    let log = this.#logs.get(container);
    if (log === undefined) {
      const { namespace = '', name } = this.pod.metadata;
      const folder = join(this.#parts.paths.logs, 'pods');
      makeFolder(folder);
      log = new LogFile(join(folder, `${namespace}_${name}_${container}.log`));
      this.#logs.set(container, log);
    }
    return log;
  }

  #writeFiles(): void {
    makeFolder(this.#folder);
    const { namespace = 'default', name } = this.pod.metadata;
    const search = [`${namespace}.svc`, 'svc', ''].map((part) =>
      part === '' ? 'cluster.local' : `${part}.cluster.local`,
    );
    const resolver = [
      `nameserver ${CLUSTER_DNS_VIP}`,
      `search ${search.join(' ')}`,
      'options ndots:5',
    ];
    writeFileAtomic(join(this.#folder, 'resolv.conf'), `${resolver.join('\n')}\n`, 0o644);
    const hosts = [
      '127.0.0.1 localhost',
      '::1 localhost ip6-localhost',
      ...this.#ips.map((ip) => `${ip} ${name}`),
    ];
    writeFileAtomic(join(this.#folder, 'hosts'), `${hosts.join('\n')}\n`, 0o644);
  }

  #finish(phase: PodPhase, message?: string): void {
    this.#change({ phase, ...(message !== undefined && { message, reason: 'Error' }) });
  }

  #changeContainer(
    list: 'init' | 'containers',
    name: string,
    change: Partial<ContainerState>,
  ): void {
    const changed = this.#state[list].map((container) =>
      container.name === name ? { ...container, ...change } : container,
    );
    this.#change({ [list]: changed });
  }

  #change(change: Partial<PodState>): void {
    this.#state = { ...this.#state, ...change };
    this.#parts.onState(this.#state);
  }
}
