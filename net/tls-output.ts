import { viewNative } from './native/memory.ts';
import { dropOutput, outputAddress, outputLength } from './native/openssl-session.ts';
import { Remainder } from './remainder.ts';
import type { Carrier } from './tls-carrier.ts';

/** The way of one session's records to its carrier; what that refuses for now waits here. */
export class TlsOutput {
  readonly #carrier: Carrier;
  readonly #unsent: Remainder[] = [];

  constructor(carrier: Carrier) {
    this.#carrier = carrier;
  }

  /** Nothing waits. */
  get isEmpty(): boolean {
    return this.#unsent.length === 0;
  }

  /**
   * Takes what the session wrote out of the thread's shared output; after every call that may have written.
   *
   * @param ends the carrier ends right behind it, and both can go in one packet.
   */
  flush(ends = false): void {
    const length = outputLength();
    if (length === 0) return;
    const address = outputAddress();
    const idle = this.isEmpty;
    const sent = idle ? (this.#carrier.sendNative?.(address, length, ends) ?? 0) : 0;
    if (sent < length) this.#keep(address + BigInt(sent), length - sent);
    dropOutput(length);
    // A stream may write with a session of its own, so it gets the bytes once the shared output is free again.
    if (idle && this.#carrier.sendNative === undefined) this.sendUnsent();
  }

  /** True when nothing is left. */
  sendUnsent(): boolean {
    for (let first = this.#unsent[0]; first !== undefined; first = this.#unsent[0]) {
      if (!first.consume(this.#carrier.send(first.bytes, first.offset, first.length))) return false;
      this.#unsent.shift();
    }
    return true;
  }

  drop(): void {
    this.#unsent.length = 0;
  }

  #keep(address: bigint, length: number): void {
    this.#unsent.push(new Remainder(viewNative(address, length), 0, length));
  }
}
