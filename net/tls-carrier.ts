import type { ByteSink, ByteStream, SharedBytes } from './byte-stream.ts';
import { EAGAIN, errnoName } from './native/errno.ts';
import {
  closeDescriptor,
  MSG_MORE,
  setAbortiveClose,
  shutdownWrite,
  writeFrom,
  writeNative,
} from './native/libc.ts';
import {
  BROKEN,
  type EventHandler,
  forget,
  HUNG_UP,
  PEER_ENDED,
  READABLE,
  SOCKET_EVENTS,
  watch,
  WRITABLE,
} from './reactor.ts';

/** Who uses a carrier: the TLS session above it. */
export interface CarrierUser {
  /**
   * There is input to read, or the end of it.
   *
   * @param ending the peer has ended or broken the connection: no further event tells what comes last.
   * @param reset it is broken: nothing can be sent any more.
   */
  onReadable(ending: boolean, reset: boolean): void;
  onWritable(): void;
  onBroken(error: string): void;
  /** Input of a stream below; a descriptor is read by OpenSSL itself. How many bytes were taken. */
  onInput(bytes: SharedBytes, offset: number, length: number): number;
  /** No more onInput(): in order only when the session itself has ended before. */
  onInputEnd(): void;
}

/** What TLS records travel on: a descriptor, or any stream. */
export interface Carrier {
  /** What OpenSSL reads from by itself, if anything. */
  readonly descriptor: number | undefined;
  begin(user: CarrierUser): void;
  /**
   * Sends memory that native code owns; how many bytes were taken. Only where that makes no other session of this
   * thread write meanwhile, for they share that memory.
   *
   * @param ends end() or close() follows at once.
   */
  sendNative?(address: bigint, length: number, ends: boolean): number;
  send(bytes: SharedBytes, offset: number, length: number): number;
  /** No more output; what was taken is sent. */
  end(): void;
  /** Lets go after both directions ended; our own need not have ended by end(). */
  close(): void;
  reset(): void;
}

/** The fast one: OpenSSL reads the socket itself, with read-ahead, and whole batches of records are written at once. */
export class DescriptorCarrier implements Carrier, EventHandler {
  readonly descriptor: number;
  #user: CarrierUser | undefined;
  #closed = false;

  constructor(descriptor: number) {
    this.descriptor = descriptor;
  }

  begin(user: CarrierUser): void {
    this.#user = user;
    watch(this.descriptor, SOCKET_EVENTS, this);
  }

  onEvent(mask: number): void {
    if ((mask & WRITABLE) !== 0) this.#user?.onWritable();
    const ending = (mask & (PEER_ENDED | HUNG_UP | BROKEN)) !== 0;
    if ((ending || (mask & READABLE) !== 0) && !this.#isClosed())
      this.#user?.onReadable(ending, (mask & BROKEN) !== 0);
  }

  sendNative(address: bigint, length: number, ends: boolean): number {
    return this.#judge(writeNative(this.descriptor, address, length, ends ? MSG_MORE : 0));
  }

  send(bytes: SharedBytes, offset: number, length: number): number {
    return this.#judge(writeFrom(this.descriptor, bytes, offset, length));
  }

  end(): void {
    if (!this.#closed) shutdownWrite(this.descriptor);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    forget(this.descriptor);
    closeDescriptor(this.descriptor);
  }

  reset(): void {
    if (this.#closed) return;
    setAbortiveClose(this.descriptor, true);
    this.close();
  }

  #isClosed(): boolean {
    return this.#closed;
  }

  #judge(wrote: number): number {
    if (wrote >= 0) return wrote;
    if (wrote !== -EAGAIN) this.#user?.onBroken(errnoName(-wrote));
    return 0;
  }
}

/** TLS inside a tunnel: double HBONE, and TLS origination behind one. */
export class StreamCarrier implements Carrier, ByteSink {
  readonly descriptor = undefined;
  readonly #below: ByteStream;
  #user: CarrierUser | undefined;

  constructor(below: ByteStream) {
    this.#below = below;
  }

  begin(user: CarrierUser): void {
    this.#user = user;
    this.#below.setSink(this);
  }

  capacity(): number {
    return 1 << 20;
  }

  onData(bytes: SharedBytes, offset: number, length: number): number {
    return this.#user?.onInput(bytes, offset, length) ?? 0;
  }

  onEnd(): void {
    this.#user?.onInputEnd();
  }

  onError(error: Error): void {
    this.#user?.onBroken(error.message);
  }

  onWritable(): void {
    this.#user?.onWritable();
  }

  send(bytes: SharedBytes, offset: number, length: number): number {
    return this.#below.write(bytes, offset, length);
  }

  end(): void {
    this.#below.end();
  }

  close(): void {
    this.#below.end();
  }

  reset(): void {
    this.#below.reset();
  }
}
