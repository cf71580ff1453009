import { InFlight } from '../../mesh/runtime/drain.ts';
import type { Http2Connection } from '../../net/h2/connection.ts';

/** The tunnel sessions that a pod serves, so that their peers can be told to go elsewhere. */
export class InboundSessions {
  /** With the verified chain of the peer, DER, where revocation is checked. */
  readonly #open = new Map<Http2Connection, readonly Buffer[]>();
  readonly #inFlight = new InFlight();
  #draining = false;

  /** One more connection, from its accept until what this returns is disposed. */
  begin(): Disposable {
    return this.#inFlight.begin();
  }

  add(connection: Http2Connection, peerChain: readonly Buffer[] = []): void {
    this.#open.set(connection, peerChain);
    // Its handshake was under way when the others were told.
    if (this.#draining) connection.drain();
  }

  delete(connection: Http2Connection): void {
    this.#open.delete(connection);
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
}
