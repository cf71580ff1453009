import { MeshError } from '../base/errors.ts';
import { makeSpiffeId, type TrustDomain } from '../mesh/model/identity.ts';
import { adoptNetns } from '../net/netns.ts';
import type { TcpListener } from '../net/tcp-listener.ts';
import type { PodDns } from './dns.ts';
import { type InboundSessions, listenHbone } from './inbound/listener.ts';
import { listenPlaintext } from './inbound/passthrough.ts';
import { listenOutbound } from './outbound/listener.ts';
import type { DataParts, PodContext } from './parts.ts';
import type { PodHandover } from './thread-calls.ts';

/** One pod's listeners and sessions in this thread. */
class PodProxy {
  readonly context: PodContext;
  readonly #listeners: readonly TcpListener[];
  readonly #dns: PodDns | undefined;
  readonly #sessions: InboundSessions = new Set();
  readonly #gone = new AbortController();

  constructor(parts: DataParts, handover: PodHandover, trustDomain: TrustDomain) {
    const { uid, name, namespace, serviceAccount } = handover;
    this.context = {
      ...{ uid, name, namespace, serviceAccount },
      identity: makeSpiffeId({ trustDomain, namespace, serviceAccount }),
      netns: adoptNetns(handover.netnsFd),
      gone: this.#gone.signal,
    };
    this.#listeners = [
      listenOutbound(parts, this.context, handover.outbound),
      listenPlaintext(parts, this.context, handover.plaintext),
      listenHbone(parts, this.context, handover.hbone, this.#sessions),
    ];
    try {
      this.#dns = parts.dns?.serve(this.context);
    } catch (error) {
      // Its names would find nobody to answer them: the node agent is told, and tries again.
      for (const listener of this.#listeners) listener.close();
      this.context.netns.close();
      throw error;
    }
  }

  /** No new connections; peers are told to go elsewhere, and what is open goes on. */
  stop(): void {
    for (const listener of this.#listeners) listener.close();
    for (const session of this.#sessions) session.drain();
    this.#dns?.drain();
  }

  /** After stop(): nothing is dialled or waited for in this pod any more. */
  leave(): void {
    this.#gone.abort(
      new MeshError('ERR_POD_GONE', 'local', `Cannot serve pod ${this.context.uid}: it has gone`),
    );
    this.#dns?.[Symbol.dispose]();
    this.context.netns.close();
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
    const { pool, contexts } = this.#parts;
    pool.retirePod(uid);
    const { identity } = pod.context;
    const shared = this.contexts().some((other) => other.identity === identity);
    if (!shared) contexts.forget(identity);
  }

  /** For a proxy that is to end: no new connections in any pod. */
  stopAll(): void {
    for (const pod of this.#pods.values()) pod.stop();
    this.#parts.pool.retireAll();
  }

  leaveAll(): void {
    for (const pod of this.#pods.values()) pod.leave();
  }
}
