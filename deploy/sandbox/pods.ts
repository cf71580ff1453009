import { parseIpAddress } from '../../base/address.ts';
import { describeError } from '../../base/errors.ts';
import { AMBIENT_REDIRECTION } from '../../mesh/kubernetes/labels.ts';
import type { Netns } from '../../net/netns.ts';
import { AddressPool, type NodeAddresses } from './addresses.ts';
import type { KubernetesObject, SandboxPaths } from './api.ts';
import { PodRunner } from './pod-runner.ts';
import { podSpecOf, type PodSpec } from './pod-spec.ts';
import { formatPodStatus, podPhase, statusOf } from './pod-status.ts';
import { matchesLabels } from './selector.ts';
import { referenceOf, timestamp, withMetadata, type ObjectStore } from './store.ts';
import type { TokenSigner } from './tokens.ts';

/** Annotation: the path of the pod's network namespace; where the node agent finds it. */
export const NETNS_ANNOTATION = 'sandbox.halo.dev/netns';
/** Annotation of the pods that stand for the sandbox's own processes; nobody starts or stops them here. */
export const PART_ANNOTATION = 'sandbox.halo.dev/part';

/** The first pod address of a node; below it are the network's own and the gateway's. */
const FIRST_POD_HOST = 2;

export type PodsParts = Readonly<{
  store: ObjectStore;
  paths: SandboxPaths;
  nodes: readonly (NodeAddresses & Readonly<{ netns: Netns }>)[];
  images: ReadonlyMap<string, readonly string[]>;
  /** See PodRunnerParts. */
  addToMesh: (
    node: string,
    pod: KubernetesObject,
    netns: string,
    signal: AbortSignal,
  ) => Promise<void>;
  /** Resolves when the rules of Services say what the objects say now. */
  whenRulesStand: () => Promise<void>;
  /** False: nothing captures pods here, so nothing has to be let go. */
  captures: boolean;
  tokens: TokenSigner;
  /** See PodRunnerParts. */
  waypointEnvironment: Readonly<Record<string, string>>;
}>;

type Home = Readonly<{ node: NodeAddresses & Readonly<{ netns: Netns }>; pools: AddressPool[] }>;

/** Puts pods on nodes, runs them there, and ends them: scheduler and kubelets in one. */
export class Pods {
  readonly #parts: PodsParts;
  readonly #homes: readonly Home[];
  readonly #runners = new Map<string, PodRunner>();
  readonly #stopping = new Map<string, Promise<void>>();

  constructor(parts: PodsParts) {
    this.#parts = parts;
    this.#homes = parts.nodes.map((node) => ({
      node,
      pools: node.podCidrs.map((cidr) => new AddressPool(cidr, FIRST_POD_HOST)),
    }));
  }

  runner(namespace: string, name: string): PodRunner | undefined {
    const uid = this.#parts.store.get('Pod', namespace, name)?.metadata.uid;
    return uid === undefined ? undefined : this.#runners.get(uid);
  }

  /** Starts what is to run, ends what is to end. */
  reconcile(): void {
    for (const pod of this.#parts.store.list('Pod')) {
      const { uid = '', annotations = {}, deletionTimestamp } = pod.metadata;
      if (PART_ANNOTATION in annotations) continue;
      if (deletionTimestamp !== undefined) this.#end(pod);
      else if (!this.#runners.has(uid) && podPhase(pod) === 'Pending') this.#start(pod);
    }
  }

  /** Marks a pod as going; its object goes when its processes have. */
  remove(pod: KubernetesObject): void {
    if (pod.metadata.deletionTimestamp === undefined)
      this.#parts.store.put(withMetadata(pod, { deletionTimestamp: timestamp() }));
  }

  /** Ends every pod at once. */
  async stopAll(graceMs: number): Promise<void> {
    const runners = [...this.#runners.values()];
    this.#runners.clear();
    await Promise.all(runners.map((runner) => runner.stop(graceMs)));
  }

  #start(pod: KubernetesObject): void {
    const { store, paths, images, addToMesh, captures, tokens, waypointEnvironment } = this.#parts;
    const { uid = '', namespace = '' } = pod.metadata;
    try {
      const spec = podSpecOf(pod);
      if (spec.hostNetwork) {
        this.#fail(pod, 'the sandbox gives every pod a network of its own: remove hostNetwork');
        return;
      }
      if (store.get('ServiceAccount', namespace, spec.serviceAccountName) === undefined) {
        this.#wait(pod, `there is no service account ${namespace}/${spec.serviceAccountName}`);
        return;
      }
      const home = this.#schedule(spec);
      if (home === undefined) {
        this.#wait(pod, 'no node has the name or the labels that it asks for');
        return;
      }
      const ips = home.pools.map((pool) => pool.take(uid));
      const placed = this.#place(pod, home.node.name, spec);
      const runner: PodRunner = new PodRunner(placed, ips, {
        ...{ paths, node: home.node, nodeNetns: home.node.netns, images, tokens },
        waypointEnvironment,
        addToMesh: (object, netns, signal) => addToMesh(home.node.name, object, netns, signal),
        onState: (state) => {
          // The first state comes while the runner is made; the object may be another's by now.
          this.#update(pod, (now) => ({ ...now, status: formatPodStatus(state) }));
        },
        released: (signal) => (captures ? this.#released(pod, signal) : Promise.resolve()),
      });
      this.#runners.set(uid, runner);
      this.#update(pod, (now) =>
        withMetadata(now, { annotations: { [NETNS_ANNOTATION]: runner.netns } }),
      );
    } catch (error) {
      this.#fail(pod, describeError(error));
    }
  }

  #place(pod: KubernetesObject, node: string, spec: PodSpec): KubernetesObject {
    const before = pod['spec'] as Readonly<Record<string, unknown>>;
    const { serviceAccountName } = spec;
    return this.#parts.store.put({
      ...pod,
      spec: { ...before, nodeName: node, serviceAccountName },
    });
  }

  /** The node that was asked for, or of those that fit the one with the fewest pods. */
  #schedule(spec: PodSpec): Home | undefined {
    const { store } = this.#parts;
    const counts = new Map<string, number>();
    for (const runner of this.#runners.values()) {
      const name = runner.nodeName;
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    return this.#homes
      .filter(({ node }) => spec.nodeName === '' || node.name === spec.nodeName)
      .filter(({ node }) =>
        matchesLabels(spec.nodeSelector, store.get('Node', '', node.name)?.metadata.labels),
      )
      .sort((a, b) => (counts.get(a.node.name) ?? 0) - (counts.get(b.node.name) ?? 0))[0];
  }

  #end(pod: KubernetesObject): void {
    const { uid = '' } = pod.metadata;
    if (this.#stopping.has(uid)) return;
    const runner = this.#runners.get(uid);
    const gone = (async (): Promise<void> => {
      // Nobody is to be sent to it any more when it is told to end.
      await this.#parts.whenRulesStand();
      await runner?.stop();
      this.#runners.delete(uid);
      const home = this.#homes.find(({ node }) => node.name === runner?.nodeName);
      for (const [family, ip] of (runner?.state.ips ?? []).entries())
        home?.pools[family]?.give(parseIpAddress(ip));
      const now = this.#parts.store.get('Pod', pod.metadata.namespace ?? '', pod.metadata.name);
      if (now?.metadata.uid === uid) this.#parts.store.remove(referenceOf(pod));
      this.#stopping.delete(uid);
    })();
    this.#stopping.set(uid, gone);
  }

  /** Until the annotation of capture is gone, or the time is over. */
  #released(pod: KubernetesObject, signal: AbortSignal): Promise<void> {
    const { store } = this.#parts;
    const isReleased = (): boolean => {
      const now = store.get('Pod', pod.metadata.namespace ?? '', pod.metadata.name);
      const annotations = now?.metadata.annotations ?? {};
      return now?.metadata.uid !== pod.metadata.uid || !(AMBIENT_REDIRECTION in annotations);
    };
    return new Promise((resolve) => {
      if (isReleased() || signal.aborted) {
        resolve();
        return;
      }
      const end = (): void => {
        stop();
        resolve();
      };
      const stop = store.onChange(() => {
        if (isReleased()) end();
      });
      signal.addEventListener('abort', end, { once: true });
    });
  }

  #wait(pod: KubernetesObject, message: string): void {
    this.#update(pod, (now) => ({
      ...now,
      status: { ...statusOf(now), phase: 'Pending', message, reason: 'Unschedulable' },
    }));
  }

  #fail(pod: KubernetesObject, message: string): void {
    this.#update(pod, (now) => ({
      ...now,
      status: { ...statusOf(now), phase: 'Failed', message, reason: 'Error' },
    }));
  }

  #update(pod: KubernetesObject, change: (now: KubernetesObject) => KubernetesObject): void {
    this.#parts.store.update(referenceOf(pod), (now) =>
      now.metadata.uid === pod.metadata.uid ? change(now) : now,
    );
  }
}
