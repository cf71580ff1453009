import { closeSync } from 'node:fs';
import { MeshError } from '../base/errors.ts';
import { makeSpiffeId, type SpiffeId, type TrustDomain } from '../mesh/model/identity.ts';
import { adoptNetns } from '../net/netns.ts';
import type { TcpListener } from '../net/tcp-listener.ts';
import type { PodDns } from './dns.ts';
import { listenHbone } from './inbound/listener.ts';
import { listenPlaintext } from './inbound/passthrough.ts';
import { InboundSessions } from '../mesh/proxy/inbound-sessions.ts';
import { listenSocks5 } from './outbound/socks5-listener.ts';
import { listenOutbound } from './outbound/listener.ts';
import type { DataParts, PodContext } from './parts.ts';
import type { HandedListener, PodHandover } from './thread-calls.ts';

type PodListener = Readonly<{ listener: TcpListener; kept: boolean }>;

/** One pod's listeners and sessions in this thread. */
class PodProxy {
  readonly context: PodContext;
  readonly #listeners: readonly PodListener[];
  readonly #dns: PodDns | undefined;
  readonly #sessions = new InboundSessions();
  readonly #gone = new AbortController();

  constructor(parts: DataParts, handover: PodHandover, trustDomain: TrustDomain) {
    const { uid, name, namespace, serviceAccount } = handover;
    const { state } = parts;
    let known = { trustDomain, identity: makeSpiffeId({ trustDomain, namespace, serviceAccount }) };
    this.context = {
      ...{ uid, name, namespace, serviceAccount },
      // Account and namespace are the node agent's to say, the trust domain is the control plane's.
      get identity(): SpiffeId {
        const told = state.localWorkload(this)?.trustDomain;
        if (told !== undefined && told !== known.trustDomain) {
          const identity = makeSpiffeId({ trustDomain: told, namespace, serviceAccount });
          known = { trustDomain: told, identity };
        }
        return known.identity;
      },
      netns: handover.netnsFd === undefined ? undefined : adoptNetns(handover.netnsFd),
      gone: this.#gone.signal,
    };
    this.#listeners = this.#listen(parts, handover);
    try {
      this.#dns = parts.dns?.serve(this.context, handover.dns);
    } catch (error) {
      // Its names would find nobody to answer them: the node agent is told, and tries again.
      for (const { listener } of this.#listeners) listener.close();
      this.context.netns?.close();
      throw error;
    }
  }

  /** No new connections; peers are told to go elsewhere, and what is open goes on. */
  stop(): void {
    for (const { listener, kept } of this.#listeners) {
      // Who waits in a queue that nobody else serves would be reset.
      if (!kept) listener.acceptQueue();
      listener.close();
    }
    this.#sessions.drain();
    this.#dns?.drain();
  }

  closeSessionsWhere(condition: (peerChain: readonly Buffer[]) => boolean): void {
    this.#sessions.closeWhere(condition);
  }

  /** Settles when the last of its tunnel sessions has ended. */
  async whenIdle(): Promise<void> {
    await this.#sessions.whenIdle();
  }

  /** After stop(): nothing is dialled or waited for in this pod any more. */
  leave(): void {
    this.#gone.abort(podGone(this.context.uid));
    this.#dns?.[Symbol.dispose]();
    this.context.netns?.close();
  }

  #listen(parts: DataParts, handover: PodHandover): PodListener[] {
    const { outbound, plaintext, hbone, socks5, dns } = handover;
    const listeners: PodListener[] = [];
    const begin: [HandedListener, (handed: HandedListener) => TcpListener][] = [
      [outbound, (handed) => listenOutbound(parts, this.context, handed)],
      [plaintext, (handed) => listenPlaintext(parts, this.context, handed)],
      [hbone, (handed) => listenHbone(parts, this.context, handed, this.#sessions)],
    ];
    if (socks5 !== undefined)
      begin.push([socks5, (handed) => listenSocks5(parts, this.context, handed)]);
    try {
      for (const [handed, listen] of begin)
        listeners.push({ listener: listen(handed), kept: handed.kept });
      return listeners;
    } catch (error) {
      for (const { listener } of listeners) listener.close();
      for (const [{ fd }] of begin.slice(listeners.length)) closeSync(fd);
      for (const { udpFd, tcpFd } of dns) for (const fd of [udpFd, tcpFd]) closeSync(fd);
      this.context.netns?.close();
      throw error;
    }
  }
}

/** The pods that the node agent has handed over, as one data thread serves them. */
export class Pods {
  readonly #parts: DataParts;
  readonly #trustDomain: TrustDomain;
  readonly #pods = new Map<string, PodProxy>();

  constructor(parts: DataParts, trustDomain: TrustDomain) {
    this.#parts = parts;
    this.#trustDomain = trustDomain;
  }

  contexts(): PodContext[] {
    return [...this.#pods.values()].map(({ context }) => context);
  }

  /** Begins to serve a pod. One with the same uid is replaced: its namespace is another one now. */
  add(handover: PodHandover): void {
    this.remove(handover.uid);
    this.#pods.set(handover.uid, new PodProxy(this.#parts, handover, this.#trustDomain));
  }

  remove(uid: string): void {
    const pod = this.#pods.get(uid);
    if (pod === undefined) return;
    this.#pods.delete(uid);
    pod.stop();
    pod.leave();
    const { pool, contexts, connections, demand } = this.#parts;
    connections.cutPending(uid, podGone(uid));
    pool.retirePod(uid);
    demand?.forgetPod(uid);
    const { identity } = pod.context;
    const shared = this.contexts().some((other) => other.identity === identity);
    if (!shared) contexts.forget(identity);
  }

  /** For a proxy that is to end: no new connections in any pod. */
  stopAll(): void {
    for (const pod of this.#pods.values()) pod.stop();
    this.#parts.pool.retireAll();
  }

  /** Ends tunnel sessions at once whose peers' chains are such. */
  closeWhere(condition: (peerChain: readonly Buffer[]) => boolean): void {
    for (const pod of this.#pods.values()) pod.closeSessionsWhere(condition);
  }

  leaveAll(): void {
    for (const pod of this.#pods.values()) pod.leave();
  }

  /** Settles when the tunnel sessions of all pods have ended. */
  async whenIdle(): Promise<void> {
    await Promise.all([...this.#pods.values()].map((pod) => pod.whenIdle()));
  }
}

function podGone(uid: string): MeshError {
  return new MeshError('ERR_POD_GONE', 'local', `Cannot serve pod ${uid}: it has gone`);
}
