import { NOWHERE, Roster, type Seated } from '../../base/roster.ts';
import { InFlight } from '../runtime/drain.ts';
import type { Http2Connection } from '../../net/h2/connection.ts';

/**
 * 10 min: a session without a tunnel at two looks so far apart is told to go. A client's pool lets go of it after 5 (its
 * POOL_UNUSED_RELEASE_TIMEOUT), so this is for those who keep sessions to fill our memory (attack H23).
 */
const IDLE_LOOK_MS = 600_000;

/** One session while it is open. */
export class InboundSession implements Seated {
  seat = NOWHERE;
  readonly connection: Http2Connection;
  /** The peer's, DER, where revocation is checked. */
  readonly peerChain: readonly Buffer[];
  /** Without a tunnel when it was looked at. */
  wasIdle = false;

  constructor(connection: Http2Connection, peerChain: readonly Buffer[]) {
    this.connection = connection;
    this.peerChain = peerChain;
  }
}

/** The tunnel sessions that a pod serves, so that their peers can be told to go elsewhere. */
export class InboundSessions {
  readonly #open = new Roster<InboundSession>();
  readonly #inFlight = new InFlight();
  readonly #idleLookMs: number;
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

  /** @returns what delete() takes. */
  add(connection: Http2Connection, peerChain: readonly Buffer[] = []): InboundSession {
    const session = new InboundSession(connection, peerChain);
    this.#open.add(session);
    this.#looks ??= setInterval(() => {
      this.#drainIdle();
    }, this.#idleLookMs).unref();
    // Its handshake was under way when the others were told.
    if (this.#draining) connection.drain();
    return session;
  }

  delete(session: InboundSession): void {
    this.#open.delete(session);
    if (this.#open.size > 0) return;
    clearInterval(this.#looks);
    this.#looks = undefined;
  }

  /** GOAWAY to all: tunnels that run go on, and each session ends with its last one. */
  drain(): void {
    this.#draining = true;
    for (const { connection } of this.#open.all()) connection.drain();
  }

  /** Ends sessions at once, with their tunnels. */
  closeWhere(condition: (peerChain: readonly Buffer[]) => boolean): void {
    for (const { connection, peerChain } of this.#open.all())
      if (condition(peerChain)) connection.close();
  }

  async whenIdle(): Promise<void> {
    await this.#inFlight.whenIdle();
  }

  #drainIdle(): void {
    for (const session of this.#open.all()) {
      const isIdle = session.connection.activeStreams === 0;
      if (isIdle && session.wasIdle) session.connection.drain();
      session.wasIdle = isIdle;
    }
  }
}
