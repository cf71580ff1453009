import { InFlight } from '../runtime/drain.ts';
import type { Http2Connection } from '../../net/h2/connection.ts';

/**
 * 10 min: a session without a tunnel at two looks so far apart is told to go. A client's pool lets go of it after 5 (its
 * POOL_UNUSED_RELEASE_TIMEOUT), so this is for those who keep sessions to fill our memory (attack H23).
 */
const IDLE_LOOK_MS = 600_000;

/** The tunnel sessions that a pod serves, so that their peers can be told to go elsewhere. */
export class InboundSessions {
  /** With the verified chain of the peer, DER, where revocation is checked. */
  readonly #open = new Map<Http2Connection, readonly Buffer[]>();
  readonly #inFlight = new InFlight();
  readonly #idleLookMs: number;
  /** Without a tunnel when they were looked at. */
  #idle = new Set<Http2Connection>();
  #looks: NodeJS.Timeout | undefined;
  #draining = false;

  /** @param idleLookMs a session may be without a tunnel for twice as long. */
  constructor(idleLookMs = IDLE_LOOK_MS) {
    this.#idleLookMs = idleLookMs;
  }

  /** One more connection, from its accept until what this returns is disposed. */
  begin(): Disposable {
    return this.#inFlight.begin();
  }

  add(connection: Http2Connection, peerChain: readonly Buffer[] = []): void {
    this.#open.set(connection, peerChain);
    this.#looks ??= setInterval(() => {
      this.#drainIdle();
    }, this.#idleLookMs).unref();
    // Its handshake was under way when the others were told.
    if (this.#draining) connection.drain();
  }

  delete(connection: Http2Connection): void {
    this.#open.delete(connection);
    this.#idle.delete(connection);
    if (this.#open.size > 0) return;
    clearInterval(this.#looks);
    this.#looks = undefined;
  }

  /** GOAWAY to all: tunnels that run go on, and each session ends with its last one. */
  drain(): void {
    this.#draining = true;
    for (const connection of [...this.#open.keys()]) connection.drain();
  }

  /** Ends sessions at once, with their tunnels. */
  closeWhere(condition: (peerChain: readonly Buffer[]) => boolean): void {
    for (const [connection, peerChain] of [...this.#open])
      if (condition(peerChain)) connection.close();
  }

  async whenIdle(): Promise<void> {
    await this.#inFlight.whenIdle();
  }

  #drainIdle(): void {
    const before = this.#idle;
    this.#idle = new Set();
    for (const connection of [...this.#open.keys()]) {
      if (connection.activeStreams > 0) continue;
      if (before.has(connection)) connection.drain();
      else this.#idle.add(connection);
    }
  }
}
