import {
  familyOf,
  formatSocketAddress,
  type IpAddress,
  type SocketAddress,
} from '../base/address.ts';
import { inNetns, type Netns } from './netns.ts';
import { EAGAIN, systemError } from './native/errno.ts';
import {
  AF_INET,
  AF_INET6,
  bindSocket,
  closeDescriptor,
  openSocket,
  SOCK_DGRAM,
} from './native/libc.ts';
import { MessageBuffer } from './native/message.ts';
import { allocateSockaddr, readSockaddr, writeSockaddr } from './native/sockaddr.ts';
import { EDGE, type EventHandler, READABLE, runNextTurn, unwatch, watch } from './reactor.ts';
import { socketLocal } from './socket-address.ts';
import { setDualStack, setMark, setReusePort } from './socket-options.ts';

/** The largest UDP payload. */
const MAX_DATAGRAM_BYTES = 65_535;
const DATAGRAMS_PER_TURN = 64;

/** Apart, because a handler answers while it still reads what it was given. */
const incoming = new MessageBuffer(MAX_DATAGRAM_BYTES);
const outgoing = new MessageBuffer(MAX_DATAGRAM_BYTES);
const sockaddr = allocateSockaddr();

export type UdpOptions = Readonly<{
  /** Port 0 lets the kernel choose; `::` serves IPv4 too. */
  local: Readonly<{ ip: IpAddress; port: number }>;
  netns?: Netns;
  mark?: number;
  /** Others of our user may bind the same address; the kernel shares the datagrams out by their senders. */
  reusePort?: boolean;
}>;

export interface DatagramHandler {
  /** `bytes` is valid during the call. */
  onMessage(bytes: Buffer, from: SocketAddress): void;
  /** A peer could not be reached (ICMP); the socket lives on. */
  onError(error: Error): void;
}

/**
 * Opens a UDP socket in a namespace.
 *
 * @throws {MeshError} the system's error, with the address.
 */
export function openUdp(options: UdpOptions): UdpSocket {
  return new UdpSocket(bindUdp(options));
}

/**
 * Makes a UDP socket in a namespace, to be read from here (UdpSocket) or handed to another process.
 *
 * @throws {MeshError} the system's error, with the address.
 */
export function bindUdp(options: UdpOptions): number {
  const { local, netns, mark } = options;
  const what = `open UDP ${formatSocketAddress(local)}`;
  return inNetns(netns, () => {
    const family = familyOf(local.ip) === 6 ? AF_INET6 : AF_INET;
    const fd = openSocket(family, SOCK_DGRAM);
    if (fd < 0) throw systemError(-fd, what);
    try {
      if (mark !== undefined) setMark(fd, mark);
      if (options.reusePort === true) setReusePort(fd);
      if (local.ip === '::') setDualStack(fd);
      const bound = bindSocket(fd, sockaddr, writeSockaddr(sockaddr, local, family));
      if (bound < 0) throw systemError(-bound, what);
      return fd;
    } catch (error) {
      closeDescriptor(fd);
      throw error;
    }
  });
}

export class UdpSocket implements EventHandler {
  readonly local: SocketAddress;
  readonly #fd: number;
  readonly #family: number;
  #handler: DatagramHandler | undefined;
  #closed = false;

  /** @param fd bound, non-blocking; the socket owns it from here on. */
  constructor(fd: number) {
    this.#fd = fd;
    this.local = socketLocal(fd);
    this.#family = familyOf(this.local.ip) === 6 ? AF_INET6 : AF_INET;
  }

  setHandler(handler: DatagramHandler): void {
    const first = this.#handler === undefined;
    this.#handler = handler;
    if (first && !this.#closed) watch(this.#fd, READABLE | EDGE, this);
  }

  /** Sends one datagram; what the kernel has no room for is lost, as datagrams are. */
  send(bytes: Uint8Array, to: SocketAddress): void {
    if (this.#closed) return;
    const nameLength = writeSockaddr(outgoing.name, to, this.#family);
    const result = outgoing.send(this.#fd, bytes, undefined, nameLength);
    if (result < 0 && result !== -EAGAIN)
      this.#handler?.onError(systemError(-result, `send to ${formatSocketAddress(to)}`));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#handler !== undefined) unwatch(this.#fd);
    closeDescriptor(this.#fd);
  }

  onEvent(): void {
    this.runTask();
  }

  runTask(): void {
    for (let count = 0; !this.#closed; count++) {
      if (count === DATAGRAMS_PER_TURN) {
        runNextTurn(this);
        return;
      }
      const got = incoming.receive(this.#fd);
      if (got === -EAGAIN) return;
      if (got < 0) {
        this.#handler?.onError(systemError(-got, 'receive a datagram'));
        continue;
      }
      const from = readSockaddr(incoming.name);
      if (from !== undefined) this.#handler?.onMessage(incoming.message(got), from);
    }
  }
}
