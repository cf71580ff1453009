import { HEADROOM } from './byte-stream.ts';
import { allocateShared } from './native/memory.ts';
import { type Ssl, WANT } from './native/openssl-session.ts';

/** One delivery at the most: several records, one behind the other. */
export const READ_BYTES = 512 << 10;
/** RFC 8446 section 5.1: a record holds at most this much. */
const RECORD_BYTES = 16 << 10;

/** What a session of this thread has just read, from HEADROOM on; the next read of any session overwrites it. */
export const incoming = allocateShared(HEADROOM + READ_BYTES);

/** Reads the records of a session, with as few questions to the kernel as possible. */
export class TlsInput {
  readonly #ssl: Ssl;
  /** The peer has ended or broken the connection: no further event will come, so reading goes on until that shows. */
  #ending = false;
  /**
   * The kernel has told of input that OpenSSL may not have asked for: a short read that came before says nothing about it.
   * So it is from the handshake on, until a read finds nothing.
   */
  #toldMeanwhile = true;
  /**
   * The last read that found nothing ended amid a record. The one that brings the rest asks for no more than that, so it empties
   * no socket, and the event that told of it has told of what lies behind too.
   */
  #amidRecord = false;
  /** Of what the last read() has put into `incoming`. */
  length = 0;

  constructor(ssl: Ssl) {
    this.#ssl = ssl;
  }

  /** The kernel has told of input while there was some to be read. */
  toldAgain(): void {
    this.#toldMeanwhile = true;
  }

  ending(): void {
    this.#ending = true;
  }

  /** Everything that came has been read. */
  drained(): void {
    this.#toldMeanwhile = false;
  }

  /**
   * Reads records one behind the other until the room ends or there are none. A small message mostly comes alone: to ask
   * once more, only to hear that there is nothing, would cost each a system call.
   *
   * @returns 1: there may be more; otherwise as Ssl.read() says that there is none.
   */
  read(room: number): number {
    let length = 0;
    let outcome = 1;
    do {
      const got = this.#ssl.read(incoming, HEADROOM + length, room - length);
      if (got <= 0) {
        outcome = got;
        if (got === WANT) this.#amidRecord = this.#ssl.isAmidRecord;
      } else {
        length += got;
        if (got < RECORD_BYTES && this.#isDrained()) outcome = WANT;
      }
    } while (outcome > 0 && room - length >= RECORD_BYTES);
    this.length = length;
    return outcome;
  }

  /** Without asking the kernel: the next input brings an event. */
  #isDrained(): boolean {
    return !this.#toldMeanwhile && !this.#amidRecord && !this.#ending && this.#ssl.cameShort;
  }
}
