import type { CertificateManager } from '../certs/manager.ts';
import { makeSpiffeId } from '../mesh/model/identity.ts';
import type { DataThreads } from '../mesh/runtime/data-threads.ts';
import type { MetricCell, Metrics } from '../mesh/runtime/metrics.ts';
import type { ZdsHandler } from '../mesh/zds/client.ts';
import type { ListenerClient } from '../mesh/zds/listeners.ts';
import type { ZdsPodInfo } from '../mesh/zds/messages.ts';
import { duplicate } from '../net/descriptor.ts';
import type { Netns } from '../net/netns.ts';
import type { ZtunnelConfig } from './config.ts';
import { closePodSockets, copyPodSockets, openPodSockets, type PodSockets } from './pod-sockets.ts';
import type { ControlCalls, DataThreadCalls } from './thread-calls.ts';

export type PodManagerParts = Readonly<{
  config: ZtunnelConfig;
  threads: DataThreads<ControlCalls, DataThreadCalls>;
  certificates: CertificateManager;
  /** Settles when the configuration is there: pods are served from then on. */
  synced: Promise<unknown>;
  listeners: ListenerClient | undefined;
  metrics: Metrics;
}>;

type Pod = Readonly<{ info: ZdsPodInfo; release: () => void }>;

/** The pods of this node as the control thread sees them: sockets and certificates come and go with them. */
export class PodManager implements ZdsHandler {
  readonly #parts: PodManagerParts;
  readonly #pods = new Map<string, Pod>();
  readonly #started: MetricCell;
  readonly #stopped: MetricCell;

  constructor(parts: PodManagerParts) {
    this.#parts = parts;
    const { metrics } = parts;
    const name = 'workload_manager';
    this.#started = metrics.counter(`${name}_proxies_started_total`, 'Pods served').cell();
    this.#stopped = metrics.counter(`${name}_proxies_stopped_total`, 'Pods released').cell();
    const active = metrics.gauge(`${name}_active_proxy_count`, 'Pods that are served').cell();
    metrics.onCollect(() => {
      active.value = this.#pods.size;
    });
  }

  pods(): ReadonlyMap<string, ZdsPodInfo> {
    return new Map([...this.#pods].map(([uid, { info }]) => [uid, info]));
  }

  async add(uid: string, info: ZdsPodInfo, netns: Netns): Promise<void> {
    const { config, listeners, certificates, synced } = this.#parts;
    let sockets: PodSockets | undefined;
    try {
      // What connects meanwhile waits in the queue of the listening socket.
      await synced;
      sockets = await openPodSockets(uid, netns, config, listeners);
      await this.#handOver(uid, info, netns, sockets);
    } finally {
      if (sockets !== undefined) closePodSockets(sockets);
      netns.close();
    }
    const { trustDomain } = config;
    const { namespace, serviceAccount } = info;
    const release = certificates.hold(makeSpiffeId({ trustDomain, namespace, serviceAccount }));
    this.#pods.set(uid, { info, release });
    this.#started.value++;
  }

  /** All data threads serve a pod, or none does. */
  async #handOver(uid: string, info: ZdsPodInfo, netns: Netns, sockets: PodSockets): Promise<void> {
    const { threads } = this.#parts;
    try {
      for (let index = 0; index < threads.count; index++) {
        const handover = { uid, ...info, netnsFd: duplicate(netns.fd), ...copyPodSockets(sockets) };
        await threads.link(index).call('addPod', handover);
      }
    } catch (error) {
      await threads.callAll('removePod', { uid });
      throw error;
    }
  }

  async remove(uid: string): Promise<void> {
    const pod = this.#pods.get(uid);
    if (pod === undefined) return;
    this.#pods.delete(uid);
    await this.#parts.threads.callAll('removePod', { uid });
    pod.release();
    this.#stopped.value++;
  }
}
