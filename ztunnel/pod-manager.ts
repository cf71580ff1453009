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
import {
  closePodSockets,
  copyPodSockets,
  keptPodSockets,
  openPodSockets,
  type PodSockets,
} from './pod-sockets.ts';
import { DNS_THREAD, type ControlCalls, type DataThreadCalls } from './thread-calls.ts';

export type PodManagerParts = Readonly<{
  config: ZtunnelConfig;
  threads: DataThreads<ControlCalls, DataThreadCalls>;
  certificates: CertificateManager;
  /** Settles when the configuration is there: pods are served from then on. */
  synced: Promise<unknown>;
  listeners: ListenerClient | undefined;
  metrics: Metrics;
}>;

type Pod = Readonly<{
  info: ZdsPodInfo;
  /** Our own copies of those that the node agent keeps, for an agent that was started anew. */
  sockets: PodSockets | undefined;
  release: () => void;
}>;

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

  /** @param count how many pods could not be served yet and are tried again. */
  reportPending(count: () => number): void {
    const { metrics } = this.#parts;
    const name = 'workload_manager_pending_proxy_count';
    const pending = metrics
      .gauge(name, 'Pods that cannot be served yet, and are tried again')
      .cell();
    metrics.onCollect(() => {
      pending.value = count();
    });
  }

  pods(): ReadonlyMap<string, ZdsPodInfo> {
    return new Map([...this.#pods].map(([uid, { info }]) => [uid, info]));
  }

  /** @param netns is closed in any case; absent: this process's own. */
  async add(uid: string, info: ZdsPodInfo, netns?: Netns): Promise<void> {
    const { config, listeners, certificates, synced } = this.#parts;
    let sockets: PodSockets | undefined;
    try {
      // What connects meanwhile waits in the queue of the listening socket.
      await synced;
      sockets = await openPodSockets(uid, netns, config, listeners);
      await this.#handOver(uid, info, netns, sockets);
    } catch (error) {
      if (sockets !== undefined) closePodSockets(sockets);
      throw error;
    } finally {
      netns?.close();
    }
    if (listeners === undefined) closePodSockets(sockets);
    const { trustDomain } = config;
    const { namespace, serviceAccount } = info;
    const release = certificates.hold(makeSpiffeId({ trustDomain, namespace, serviceAccount }));
    this.#pods.set(uid, { info, release, sockets: listeners === undefined ? undefined : sockets });
    this.#started.value++;
  }

  /** All data threads serve a pod, or none does. */
  async #handOver(
    uid: string,
    info: ZdsPodInfo,
    netns: Netns | undefined,
    sockets: PodSockets,
  ): Promise<void> {
    const { threads } = this.#parts;
    try {
      for (let index = 0; index < threads.count; index++) {
        const netnsFd = netns && duplicate(netns.fd);
        const handover = {
          uid,
          ...info,
          netnsFd,
          ...copyPodSockets(sockets, { dns: index === DNS_THREAD }),
        };
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
    if (pod.sockets !== undefined) closePodSockets(pod.sockets);
    pod.release();
    this.#stopped.value++;
  }

  /**
   * Gives the node agent our copies of the pods' listening sockets: one that was started anew has lost its own, and
   * without them clients would be refused while this process is replaced. Never rejects.
   */
  async offerSockets(): Promise<void> {
    const { listeners } = this.#parts;
    if (listeners === undefined) return;
    // One pod after another: what is on its way at once has to fit into the buffer of one socket.
    for (const uid of [...this.#pods.keys()]) {
      const sockets = this.#pods.get(uid)?.sockets;
      if (sockets === undefined) continue; // it has gone meanwhile
      const kept = keptPodSockets(sockets);
      // What the agent does not take it does not need, or it has gone itself.
      await Promise.allSettled(kept.map(([name, socket]) => listeners.offer(uid, name, socket)));
    }
  }
}
