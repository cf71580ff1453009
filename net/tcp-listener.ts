import type { SocketAddress } from '../base/address.ts';
import { EXHAUSTED_PAUSE_MS, isExhausted } from './descriptor.ts';
import { EAGAIN, ECONNABORTED } from './native/errno.ts';
import { acceptSocket, closeDescriptor, setAbortiveClose } from './native/libc.ts';
import { allocateShared } from './native/memory.ts';
import { allocateSockaddr, readSockaddr } from './native/sockaddr.ts';
import { type EventHandler, EXCLUSIVE, READABLE, unwatch, watch } from './reactor.ts';
import { socketLocal } from './socket-address.ts';
import { type KeepAlive, setKeepAlive, setMaxRto, setNoDelay } from './socket-options.ts';
import { bindListener, type TcpBindOptions } from './tcp.ts';
import { TcpStream } from './tcp-stream.ts';

/** Accepts in one turn, so that a flood of connections does not starve those that are open. */
const ACCEPTS_PER_TURN = 16;
/** Longer than any backlog that is asked for here: net.core.somaxconn of current kernels. */
const MAX_QUEUE = 4096;

const peer = allocateSockaddr();
const peerLength = allocateShared(4);

export type TcpAcceptOptions = Readonly<{
  keepAlive?: KeepAlive;
  /** As when dialling. */
  maxRtoMs?: number;
  /**
   * Whatever ends this process is a reset to the peers of what is accepted, from the first moment on: they must not take
   * it for an end. A stream that closes in order does so all the same. Not for descriptors that are detached.
   */
  abortive?: boolean;
  /** Other threads accept from the same socket: each has its turn, also where connections are few. */
  takesTurns?: boolean;
  /** Told when accepting pauses because the process or the system is out of descriptors. */
  onExhausted?: (errno: number) => void;
}>;

/** A listening socket that this thread accepts from; others may accept from the same socket. */
export class TcpListener implements EventHandler {
  readonly fd: number;
  readonly transparent: boolean;
  readonly local: SocketAddress;
  readonly #onAccept: (stream: TcpStream) => void;
  readonly #options: TcpAcceptOptions;
  #open = true;
  #pause: NodeJS.Timeout | undefined;

  /** @param fd listening, non-blocking; the listener owns it from here on. */
  constructor(
    bound: Readonly<{ fd: number; transparent: boolean }>,
    options: TcpAcceptOptions,
    onAccept: (stream: TcpStream) => void,
  ) {
    this.fd = bound.fd;
    this.transparent = bound.transparent;
    this.local = socketLocal(bound.fd);
    this.#options = options;
    this.#onAccept = onAccept;
    // Linux: what is accepted has these of the listener.
    setNoDelay(bound.fd);
    if (options.maxRtoMs !== undefined) setMaxRto(bound.fd, options.maxRtoMs);
    if (options.keepAlive !== undefined) setKeepAlive(bound.fd, options.keepAlive);
    if (options.abortive === true) setAbortiveClose(bound.fd, true);
    this.#watch();
  }

  onEvent(): void {
    this.#acceptSome();
    if (this.#options.takesTurns === true) this.#queueUp();
  }

  #acceptSome(): void {
    for (let accepts = 0; accepts < ACCEPTS_PER_TURN && this.#open; accepts++) {
      const fd = acceptSocket(this.fd, peer, peerLength);
      if (fd >= 0) this.#accepted(fd);
      else if (fd === -EAGAIN) return;
      else if (isExhausted(-fd)) {
        this.#pauseAccepting(-fd);
        return;
      } else if (fd !== -ECONNABORTED) return;
    }
  }

  /** Accepts what waits now, however much it is: for a queue that ends with this listener. */
  acceptQueue(): void {
    if (!this.#open) return;
    for (let accepts = 0; accepts <= MAX_QUEUE; accepts++) {
      const fd = acceptSocket(this.fd, peer, peerLength);
      if (fd >= 0) this.#accepted(fd);
      else if (fd !== -ECONNABORTED) return;
    }
  }

  /** Stops accepting; connections accepted before live on. Idempotent. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    if (this.#pause === undefined) unwatch(this.fd);
    clearTimeout(this.#pause);
    closeDescriptor(this.fd);
  }

  #accepted(fd: number): void {
    this.#onAccept(new TcpStream(fd, readSockaddr(peer), this.#options.abortive));
  }

  /** Of the threads that wait for a socket the kernel wakes the first in its list: whoever has had its turn is the last. */
  #queueUp(): void {
    if (!this.#open || this.#pause !== undefined) return;
    unwatch(this.fd);
    this.#watch();
  }

  #watch(): void {
    // Level-triggered: what stays in the queue is told again. Exclusive: one of the threads wakes, not all.
    watch(this.fd, READABLE | EXCLUSIVE, this);
  }

  #pauseAccepting(errno: number): void {
    this.#options.onExhausted?.(errno);
    unwatch(this.fd);
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      this.#watch();
    }, EXHAUSTED_PAUSE_MS);
  }
}

/**
 * Listens and accepts on this thread.
 *
 * @throws {MeshError} as bindListener()
 */
export function listenTcp(
  options: TcpBindOptions & TcpAcceptOptions,
  onAccept: (stream: TcpStream) => void,
): TcpListener {
  return new TcpListener(bindListener(options), options, onAccept);
}
