import type { ByteStream } from './byte-stream.ts';
import type { Clock } from './clock.ts';
import type { Outbox } from './outbox.ts';

/**
 * The last steps of a connection's transport: what is written goes out, then its end; a peer that does not end its side
 * in time is reset. (A GOAWAY behind which the socket stays open would leave an attacker where it is.)
 */
export class Ending {
  readonly #transport: ByteStream;
  readonly #outbox: Outbox;
  readonly #clock: Clock;
  #cancel: (() => void) | undefined;

  constructor(transport: ByteStream, outbox: Outbox, clock: Clock) {
    this.#transport = transport;
    this.#outbox = outbox;
    this.#clock = clock;
  }

  /** Ends in order; the peer has `lingerMs` to read it and to end its side. */
  end(lingerMs: number): void {
    this.#outbox.end();
    this.#cancel = this.#clock.after(lingerMs, () => {
      this.reset();
    });
  }

  reset(): void {
    this.onBroken();
    this.#transport.reset();
  }

  /** The peer has ended its side; with ours ended too the transport has closed itself. */
  onPeerEnd(): void {
    if (this.#outbox.isEmpty) this.#cancel?.();
  }

  /** The transport is gone. */
  onBroken(): void {
    this.#cancel?.();
    this.#outbox.drop();
  }
}
