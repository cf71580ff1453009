import { makeSpiffeId, type TrustDomain } from '../mesh/model/identity.ts';
import type { TcpListener } from '../net/tcp-listener.ts';
import { listenHbone } from './inbound/listener.ts';
import { InboundSessions } from '../mesh/proxy/inbound-sessions.ts';
import type { DataParts, PodContext } from './parts.ts';
import type { SelfHandover } from './thread-calls.ts';

/**
 * The tunnel listener in front of this proxy's own metrics. Unlike a pod's it is in the node's namespace, where much
 * else listens: it leads to the one port only, and no client's address is kept.
 */
export class SelfProxy {
  readonly context: PodContext;
  readonly #listener: TcpListener;
  readonly #sessions = new InboundSessions();

  constructor(parts: DataParts, handover: SelfHandover, trustDomain: TrustDomain) {
    const { name, namespace, serviceAccount, hbone, statsPort } = handover;
    this.context = {
      ...{ uid: `self ${name}`, name, namespace, serviceAccount },
      identity: makeSpiffeId({ trustDomain, namespace, serviceAccount }),
      netns: undefined,
      onlyPort: statsPort,
      gone: new AbortController().signal,
    };
    this.#listener = listenHbone(parts, this.context, hbone, this.#sessions);
  }

  get port(): number {
    return this.#listener.local.port;
  }

  /** No new connections; peers are told to go elsewhere, and what is open goes on. */
  stop(): void {
    this.#listener.close();
    this.#sessions.drain();
  }
}
