import type { ByteStream } from './byte-stream.ts';
import type { Clock } from './clock.ts';
import type { Outbox } from './outbox.ts';
import { runNextTurn, type TurnTask } from './reactor.ts';

/**
 * The last steps of a connection's transport: what is written goes out, then its end; a peer that does not end its side
 * in time is reset. (A GOAWAY behind which the socket stays open would leave an attacker where it is.)
 */
export class Ending implements TurnTask {
  readonly #transport: ByteStream;
  readonly #outbox: Outbox;
  readonly #clock: Clock;
  #cancel: (() => void) | undefined;
  #peerEnded = false;

  constructor(transport: ByteStream, outbox: Outbox, clock: Clock) {
    this.#transport = transport;
    this.#outbox = outbox;
    this.#clock = clock;
  }

  get peerEnded(): boolean {
    return this.#peerEnded;
  }

  /** Ends in order; the peer has `lingerMs` to read it and to end its side. */
  end(lingerMs: number): void {
    this.#outbox.end();
    this.#cancel = this.#clock.after(lingerMs, () => {
      this.reset();
    });
    if (this.#peerEnded) runNextTurn(this);
  }

  reset(): void {
    this.onBroken();
    this.#transport.reset();
  }

  /** The peer has ended its side: before ours is ended, or after. */
  onPeerEnd(): void {
    this.#peerEnded = true;
    if (this.#cancel !== undefined) runNextTurn(this);
  }

  /**
   * Both sides are ended. With all that we wrote sent, the transport has closed itself, and nobody waits for the peer any more: each
   * session would be kept for so long.
   */
  runTask(): void {
    if (this.#transport.closed) this.#cancel?.();
  }

  /** The transport is gone. */
  onBroken(): void {
    this.#cancel?.();
    this.#outbox.drop();
  }
}
