import { systemError } from './native/errno.ts';
import { setIntOption } from './native/libc.ts';

/** Linux: level and name of each option. */
const SO_REUSEADDR = [1, 2] as const;
const SO_KEEPALIVE = [1, 9] as const;
const SO_REUSEPORT = [1, 15] as const;
const SO_MARK = [1, 36] as const;
const TCP_NODELAY = [6, 1] as const;
const TCP_KEEPIDLE = [6, 4] as const;
const TCP_KEEPINTVL = [6, 5] as const;
const TCP_KEEPCNT = [6, 6] as const;
const TCP_USER_TIMEOUT = [6, 18] as const;
const TCP_RTO_MAX_MS = [6, 44] as const;
const IP_TRANSPARENT = [0, 19] as const;
const IP_BIND_ADDRESS_NO_PORT = [0, 24] as const;
const IPV6_V6ONLY = [41, 26] as const;
const IPV6_TRANSPARENT = [41, 75] as const;

export type KeepAlive = Readonly<{
  idleSeconds: number;
  intervalSeconds: number;
  probes: number;
  /** Ends a connection whose data is not acknowledged for so long. */
  userTimeoutMs?: number;
}>;

type Option = readonly [level: number, name: number];

function set(fd: number, option: Option, value: number, what: string): void {
  const result = setIntOption(fd, option[0], option[1], value);
  if (result < 0) throw systemError(-result, `set ${what} on a socket`);
}

/** @throws {MeshError} without the right to (CAP_NET_ADMIN). */
export function setMark(fd: number, mark: number): void {
  set(fd, SO_MARK, mark, 'a packet mark');
}

/** Lets the socket speak and listen for foreign addresses; 0 or -errno. */
export function setTransparent(fd: number, ipv6: boolean): number {
  const v4 = setIntOption(fd, ...IP_TRANSPARENT, 1);
  return ipv6 && v4 === 0 ? setIntOption(fd, ...IPV6_TRANSPARENT, 1) : v4;
}

export function setNoDelay(fd: number): void {
  setIntOption(fd, ...TCP_NODELAY, 1);
}

export function setReuseAddress(fd: number): void {
  set(fd, SO_REUSEADDR, 1, 'address reuse');
}

export function setReusePort(fd: number): void {
  set(fd, SO_REUSEPORT, 1, 'port sharing');
}

/** An IPv6 socket that serves IPv4 too. */
export function setDualStack(fd: number): void {
  set(fd, IPV6_V6ONLY, 0, 'dual stack');
}

/** Leaves the port to connect(), where it need only be free towards that peer. */
export function setBindAddressNoPort(fd: number): void {
  setIntOption(fd, ...IP_BIND_ADDRESS_NO_PORT, 1);
}

/**
 * How long TCP repeats what nobody acknowledges, by its own rule: fifteen times, each after twice as long as the one before and two
 * minutes at the most. Documentation of the kernel, net.ipv4.tcp_retries2.
 */
const USUAL_PATIENCE_MS = 924_600;

/**
 * Limits the time between two repeats of what is lost; how long TCP tries in all stays as it was. To be set before the socket
 * connects or listens; what is accepted has it of its listener.
 *
 * @param ms 1,000 at the least.
 * @returns whether this kernel can: Linux from 6.15 on.
 */
export function setMaxRto(fd: number, ms: number): boolean {
  if (setIntOption(fd, ...TCP_RTO_MAX_MS, ms) < 0) return false;
  // The number of repeats would be reached within seconds.
  set(fd, TCP_USER_TIMEOUT, USUAL_PATIENCE_MS, 'the user timeout');
  return true;
}

export function setKeepAlive(fd: number, keepAlive: KeepAlive): void {
  set(fd, SO_KEEPALIVE, 1, 'keepalive');
  set(fd, TCP_KEEPIDLE, keepAlive.idleSeconds, 'keepalive');
  set(fd, TCP_KEEPINTVL, keepAlive.intervalSeconds, 'keepalive');
  set(fd, TCP_KEEPCNT, keepAlive.probes, 'keepalive');
  if (keepAlive.userTimeoutMs !== undefined)
    set(fd, TCP_USER_TIMEOUT, keepAlive.userTimeoutMs, 'the user timeout');
}
