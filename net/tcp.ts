import {
  familyOf,
  formatSocketAddress,
  type IpAddress,
  type SocketAddress,
} from '../base/address.ts';
import { MeshError } from '../base/errors.ts';
import { inNetns, type Netns } from './netns.ts';
import { EINPROGRESS, errnoName, systemError } from './native/errno.ts';
import {
  AF_INET,
  AF_INET6,
  bindSocket,
  closeDescriptor,
  connectSocket,
  getOption,
  listenSocket,
  openSocket,
  SOCK_STREAM,
} from './native/libc.ts';
import { allocateShared } from './native/memory.ts';
import { allocateSockaddr, writeSockaddr } from './native/sockaddr.ts';
import { BROKEN, forget, HUNG_UP, SOCKET_EVENTS, watch, WRITABLE } from './reactor.ts';
import {
  type KeepAlive,
  setBindAddressNoPort,
  setDualStack,
  setKeepAlive,
  setMark,
  setMaxRto,
  setNoDelay,
  setReuseAddress,
  setReusePort,
  setTransparent,
} from './socket-options.ts';
import { TcpStream } from './tcp-stream.ts';

/** 10 s, as istio/ztunnel's limit for connecting to a workload. */
export const CONNECT_TIMEOUT_MS = 10_000;
/**
 * What waits while a proxy is replaced or busy. The kernel caps it by net.core.somaxconn, 4,096 by default. Of what is beyond it the
 * last packet of the handshake is dropped, and the client, which has a connection, repeats itself for seconds.
 */
const LISTEN_BACKLOG = 4096;

export type TcpBindOptions = Readonly<{
  /** `::` serves IPv4 too; port 0 lets the kernel choose. */
  address: Readonly<{ ip: IpAddress; port: number }>;
  netns?: Netns;
  mark?: number;
  /** Accept connections to foreign addresses; `required` makes a refusal an error. */
  transparent?: 'required' | 'best-effort';
  reusePort?: boolean;
  backlog?: number;
}>;

export type BoundListener = Readonly<{ fd: number; transparent: boolean }>;

const sockaddr = allocateSockaddr();
const optionValue = allocateShared(4);
const optionLength = allocateShared(4);
const SO_ERROR = [1, 4] as const;

/**
 * Makes a listening socket, which can then be accepted from here (acceptFrom()) or handed to another process.
 *
 * @throws {MeshError} ERR_SYSTEM_EADDRINUSE and the like, with the address in the message.
 */
export function bindListener(options: TcpBindOptions): BoundListener {
  const { address, netns } = options;
  const where = `listen on ${formatSocketAddress(address)}`;
  return inNetns(netns, () => {
    const ipv6 = familyOf(address.ip) === 6;
    const family = ipv6 ? AF_INET6 : AF_INET;
    const fd = openSocket(family, SOCK_STREAM);
    if (fd < 0) throw systemError(-fd, where);
    try {
      setReuseAddress(fd);
      if (options.reusePort === true) setReusePort(fd);
      if (options.mark !== undefined) setMark(fd, options.mark);
      if (address.ip === '::') setDualStack(fd);
      const transparent = tryTransparent(fd, ipv6, options.transparent, where);
      const bound = bindSocket(fd, sockaddr, writeSockaddr(sockaddr, address, family));
      if (bound < 0) throw systemError(-bound, where);
      const listening = listenSocket(fd, options.backlog ?? LISTEN_BACKLOG);
      if (listening < 0) throw systemError(-listening, where);
      return { fd, transparent };
    } catch (error) {
      closeDescriptor(fd);
      throw error;
    }
  });
}

function tryTransparent(
  fd: number,
  ipv6: boolean,
  wish: 'required' | 'best-effort' | undefined,
  where: string,
): boolean {
  if (wish === undefined) return false;
  const result = setTransparent(fd, ipv6);
  if (result < 0 && wish === 'required') throw systemError(-result, `${where} transparently`);
  return result === 0;
}

export type TcpConnectOptions = Readonly<{
  netns?: Netns;
  mark?: number;
  /** Connect from this address, which may be a foreign one when `transparent` is set; port 0 lets the kernel choose. */
  source?: Readonly<{ ip: IpAddress; port: number }>;
  transparent?: boolean;
  keepAlive?: KeepAlive;
  /** What is lost is repeated after no longer time than this, where the kernel can; see setMaxRto(). */
  maxRtoMs?: number;
  timeoutMs?: number;
  signal?: AbortSignal;
}>;

/**
 * Connects; the stream is ready for a sink and for writing.
 *
 * @throws {MeshError} ERR_CONNECT with the system's error name in the message, ERR_CONNECT_TIMEOUT, ERR_ABORTED;
 *   side `upstream`, except where this machine refuses (no ports, no descriptors).
 */
export async function connectTcp(
  to: SocketAddress,
  options: TcpConnectOptions = {},
): Promise<TcpStream> {
  const fd = openConnecting(to, options);
  return await new Promise((resolve, reject) => {
    const attempt = new ConnectAttempt(fd, to, options, resolve, reject);
    attempt.begin();
  });
}

function openConnecting(to: SocketAddress, options: TcpConnectOptions): number {
  const what = `connect to ${formatSocketAddress(to)}`;
  options.signal?.throwIfAborted();
  return inNetns(options.netns, () => {
    const family = familyOf(to.ip) === 6 ? AF_INET6 : AF_INET;
    const fd = openSocket(family, SOCK_STREAM);
    if (fd < 0) throw systemError(-fd, what);
    try {
      setNoDelay(fd);
      if (options.mark !== undefined) setMark(fd, options.mark);
      if (options.maxRtoMs !== undefined) setMaxRto(fd, options.maxRtoMs);
      if (options.keepAlive !== undefined) setKeepAlive(fd, options.keepAlive);
      if (options.source !== undefined) bindSource(fd, family, options.source, options, what);
      const result = connectSocket(fd, sockaddr, writeSockaddr(sockaddr, to, family));
      if (result < 0 && result !== -EINPROGRESS) throw connectError(-result, to);
      return fd;
    } catch (error) {
      closeDescriptor(fd);
      throw error;
    }
  });
}

function bindSource(
  fd: number,
  family: number,
  source: Readonly<{ ip: IpAddress; port: number }>,
  options: TcpConnectOptions,
  what: string,
): void {
  if (options.transparent === true) {
    const result = setTransparent(fd, family === AF_INET6);
    if (result < 0) throw systemError(-result, `${what} from ${source.ip}`);
  }
  if (source.port === 0) setBindAddressNoPort(fd);
  const bound = bindSocket(fd, sockaddr, writeSockaddr(sockaddr, source, family));
  if (bound < 0) throw systemError(-bound, `${what} from ${formatSocketAddress(source)}`);
}

function connectError(errno: number, to: SocketAddress): MeshError {
  const message = `Cannot connect to ${formatSocketAddress(to)}: ${errnoName(errno)}`;
  return new MeshError('ERR_CONNECT', 'upstream', message);
}

/** One connect() under way, until it is done, refused, timed out or aborted. */
class ConnectAttempt {
  readonly #fd: number;
  readonly #to: SocketAddress;
  readonly #signal: AbortSignal | undefined;
  readonly #resolve: (stream: TcpStream) => void;
  readonly #reject: (error: unknown) => void;
  readonly #timer: NodeJS.Timeout;

  constructor(
    fd: number,
    to: SocketAddress,
    options: TcpConnectOptions,
    resolve: (stream: TcpStream) => void,
    reject: (error: unknown) => void,
  ) {
    this.#fd = fd;
    this.#to = to;
    this.#signal = options.signal;
    this.#resolve = resolve;
    this.#reject = reject;
    const timeoutMs = options.timeoutMs ?? CONNECT_TIMEOUT_MS;
    this.#timer = setTimeout(() => {
      const message = `Cannot connect to ${formatSocketAddress(to)}: no answer within ${timeoutMs} ms`;
      this.#fail(new MeshError('ERR_CONNECT_TIMEOUT', 'upstream', message));
    }, timeoutMs);
  }

  begin(): void {
    this.#signal?.addEventListener('abort', this.#onAbort, { once: true });
    watch(this.#fd, SOCKET_EVENTS, this);
  }

  onEvent(mask: number): void {
    if ((mask & (WRITABLE | BROKEN | HUNG_UP)) === 0) return;
    const errno = (mask & (BROKEN | HUNG_UP)) === 0 ? 0 : this.#error();
    if (errno !== 0) this.#fail(connectError(errno, this.#to));
    else {
      this.#release();
      this.#resolve(TcpStream.watched(this.#fd, this.#to, mask));
    }
  }

  #error(): number {
    const read = getOption(this.#fd, ...SO_ERROR, optionValue, optionLength);
    return read < 0 ? -read : optionValue.buffer.readInt32LE(0);
  }

  readonly #onAbort = (): void => {
    const message = `Cannot connect to ${formatSocketAddress(this.#to)}: given up`;
    this.#fail(
      new MeshError('ERR_ABORTED', 'local', message, { cause: this.#signal?.reason as unknown }),
    );
  };

  #fail(error: MeshError): void {
    this.#release();
    forget(this.#fd);
    closeDescriptor(this.#fd);
    this.#reject(error);
  }

  #release(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.#onAbort);
  }
}
