import { NOWHERE, type Seated } from '../base/roster.ts';

/** A flag and four bytes of length stand before each message. gRPC over HTTP/2, Length-Prefixed-Message. */
const PREFIX_BYTES = 5;

/** Counts the messages of one direction of a gRPC exchange while its bytes go by. */
export class GrpcMessages {
  /** Messages whose last byte has been seen. */
  count = 0;
  /** How much of the next prefix has been seen, and the length that it tells so far. */
  #prefix = 0;
  #length = 0;
  /** Of the message that is being seen. */
  #left = 0;
  /** What has been seen and was not taken: it comes again. */
  #ahead = 0;

  /** Sees bytes before they are handed on, for then their memory is another's. */
  look(buffer: Uint8Array, offset: number, length: number): void {
    const end = offset + length;
    let at = offset + this.#ahead;
    while (at < end) {
      if (this.#left === 0) {
        this.#seePrefix(buffer[at] ?? 0);
        at++;
        continue;
      }
      const step = Math.min(this.#left, end - at);
      this.#left -= step;
      at += step;
      if (this.#left === 0) this.count++;
    }
    this.#ahead = Math.max(this.#ahead, length);
  }

  /** So many of the bytes that were seen were taken. */
  commit(taken: number): void {
    this.#ahead -= taken;
  }

  #seePrefix(byte: number): void {
    if (this.#prefix > 0) this.#length = this.#length * 256 + byte;
    this.#prefix++;
    if (this.#prefix < PREFIX_BYTES) return;
    this.#left = this.#length;
    this.#prefix = 0;
    this.#length = 0;
    if (this.#left === 0) this.count++;
  }
}

/** The messages of both directions, and how many of them metrics know. */
export class GrpcTraffic implements Seated {
  seat = NOWHERE;
  /** Has metrics count what is new, while they know of it. */
  report: (() => void) | undefined;
  readonly request = new GrpcMessages();
  readonly response = new GrpcMessages();
  reportedRequest = 0;
  reportedResponse = 0;
}
