import ffi from 'node:ffi';
import {
  EACCES,
  EADDRINUSE,
  EADDRNOTAVAIL,
  EAGAIN,
  EALREADY,
  ECONNABORTED,
  ECONNREFUSED,
  ECONNRESET,
  EFAULT,
  EHOSTUNREACH,
  EINPROGRESS,
  EINTR,
  EIO,
  EISCONN,
  ENETDOWN,
  ENETUNREACH,
  ENOBUFS,
  ENOENT,
  ENOMEM,
  ENOTCONN,
  EPERM,
  EPIPE,
  ETIMEDOUT,
  errnoSlot,
  lastErrno,
} from './errno.ts';
import { openLibrary } from './library.ts';
import { addressAt, checkRange, countOf, type SharedBytes } from './memory.ts';

/*
 * System calls. A result below zero is -errno. Lengths here stay below 2^31, so `ssize_t` is read as i32, which costs
 * no bigint; `size_t` is passed as u64, because nobody promises the upper half of the register.
 */
const library = openLibrary({
  recv: { return: 'i32', arguments: ['i32', 'pointer', 'u64', 'i32'] },
  send: { return: 'i32', arguments: ['i32', 'pointer', 'u64', 'i32'] },
  close: { return: 'i32', arguments: ['i32'] },
  shutdown: { return: 'i32', arguments: ['i32', 'i32'] },
  socket: { return: 'i32', arguments: ['i32', 'i32', 'i32'] },
  bind: { return: 'i32', arguments: ['i32', 'pointer', 'u32'] },
  listen: { return: 'i32', arguments: ['i32', 'i32'] },
  accept4: { return: 'i32', arguments: ['i32', 'pointer', 'pointer', 'i32'] },
  connect: { return: 'i32', arguments: ['i32', 'pointer', 'u32'] },
  getsockname: { return: 'i32', arguments: ['i32', 'pointer', 'pointer'] },
  getpeername: { return: 'i32', arguments: ['i32', 'pointer', 'pointer'] },
  setsockopt: { return: 'i32', arguments: ['i32', 'i32', 'i32', 'pointer', 'u32'] },
  getsockopt: { return: 'i32', arguments: ['i32', 'i32', 'i32', 'pointer', 'pointer'] },
  sendmsg: { return: 'i32', arguments: ['i32', 'pointer', 'i32'] },
  recvmsg: { return: 'i32', arguments: ['i32', 'pointer', 'i32'] },
  epoll_create1: { return: 'i32', arguments: ['i32'] },
  epoll_ctl: { return: 'i32', arguments: ['i32', 'i32', 'i32', 'pointer'] },
  epoll_wait: { return: 'i32', arguments: ['i32', 'pointer', 'i32', 'i32'] },
  setns: { return: 'i32', arguments: ['i32', 'i32'] },
  ioctl: { return: 'i32', arguments: ['i32', 'u64', 'u64'] },
  fcntl: { return: 'i32', arguments: ['i32', 'i32', 'u64'] },
  malloc_trim: { return: 'i32', arguments: ['u64'] },
  mallopt: { return: 'i32', arguments: ['i32', 'i32'] },
  pipe2: { return: 'i32', arguments: ['pointer', 'i32'] },
  splice: { return: 'i32', arguments: ['i32', 'pointer', 'i32', 'pointer', 'u64', 'u32'] },
});
const c = library.functions;

/** Linux UAPI values for x86-64 and arm64, which agree in these. */
export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_PACKET = 17;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_SEQPACKET = 5;
const O_NONBLOCK = 0x800;
const O_CLOEXEC = 0x80000;
const SOCK_NONBLOCK = O_NONBLOCK;
const SOCK_CLOEXEC = O_CLOEXEC;
const SHUT_WR = 1;
const CLONE_NEWNET = 0x40000000;
const NS_GET_NSTYPE = 0xb703n;
const F_DUPFD_CLOEXEC = 1030;
const F_SETPIPE_SZ = 1031;
const SPLICE_F_MOVE = 1;
const SPLICE_F_NONBLOCK = 2;
const M_ARENA_MAX = -8;

/** struct msghdr, see message.ts. */
export const MSGHDR_BYTES = 56;
/** struct epoll_event is packed on x86-64 alone. */
export const EPOLL_EVENT_BYTES = process.arch === 'x64' ? 12 : 16;
export const EPOLL_DATA_OFFSET = process.arch === 'x64' ? 4 : 8;
export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;

/** What a socket says of bytes and messages. Another number was written into errno by somebody else. */
const streamErrnos = new Set([
  ...[EAGAIN, EIO, ENOMEM, EFAULT, EPIPE, ENETDOWN, ENETUNREACH, ECONNABORTED, ECONNRESET],
  ...[ENOBUFS, ENOTCONN, ETIMEDOUT, ECONNREFUSED, EHOSTUNREACH],
]);
/** What connect() says. EAGAIN, which a unix socket says too, is not among them: to ask it again costs nothing. */
const connectErrnos = new Set([
  ...[EINPROGRESS, EPERM, EACCES, ENOENT, EADDRINUSE, EADDRNOTAVAIL, ENETDOWN, ENETUNREACH],
  ...[ECONNRESET, ENOBUFS, ETIMEDOUT, ECONNREFUSED, EHOSTUNREACH],
]);

/**
 * What a call answers that was made again, because the first one was interrupted or its errno overwritten before it was read.
 * A reset is told only once, so an end that comes after an error is not believed.
 */
function secondAnswer(firstErrno: number, again: number): number {
  if (again > 0) return again;
  if (again === 0) return firstErrno === EINTR ? 0 : -ECONNRESET;
  return -lastErrno();
}

/**
 * Reads from a socket into `bytes[offset .. offset+length)`: by recv(), for which the kernel has a shorter way than for
 * read(). The same is true of send() and write().
 *
 * @returns bytes read, 0 at the end, -EAGAIN when there is nothing now, or another -errno.
 */
export function readInto(fd: number, bytes: SharedBytes, offset: number, length: number): number {
  checkRange(bytes, offset, length);
  const got = c.recv(fd, addressAt(bytes, offset), countOf(length), 0);
  if (got >= 0) return got;
  const errno = errnoSlot[0] ?? 0;
  if (errno === EAGAIN) return -EAGAIN;
  if (streamErrnos.has(errno)) return -errno;
  return secondAnswer(errno, c.recv(fd, addressAt(bytes, offset), countOf(length), 0));
}

/**
 * Writes to a socket. No signal comes of one that is broken: Node ignores it.
 *
 * @returns bytes written, or -errno.
 */
export function writeFrom(fd: number, bytes: SharedBytes, offset: number, length: number): number {
  checkRange(bytes, offset, length);
  return writeNative(fd, addressAt(bytes, offset), length);
}

/** More follows at once: what fills no packet waits for it. */
export const MSG_MORE = 0x8000;

/** As writeFrom(), from memory that native code owns and that lives during the call. @param flags 0 or MSG_MORE. */
export function writeNative(fd: number, address: bigint, length: number, flags = 0): number {
  const wrote = c.send(fd, address, countOf(length), flags);
  if (wrote >= 0) return wrote;
  const errno = errnoSlot[0] ?? 0;
  if (streamErrnos.has(errno)) return -errno;
  const again = c.send(fd, address, countOf(length), flags);
  return again >= 0 ? again : -lastErrno();
}

const pipeEnds = (() => {
  const buffer = Buffer.alloc(8);
  return { buffer, address: ffi.getRawPointer(buffer) };
})();

/**
 * A pipe that never waits and that children do not inherit.
 *
 * @param bytes its size, as far as the kernel grants it.
 * @returns its ends, or -errno.
 */
export function openPipe(bytes: number): Readonly<{ input: number; output: number }> | number {
  if (c.pipe2(pipeEnds.address, O_NONBLOCK | O_CLOEXEC) !== 0) return -lastErrno();
  const [output, input] = [pipeEnds.buffer.readInt32LE(0), pipeEnds.buffer.readInt32LE(4)];
  c.fcntl(input, F_SETPIPE_SZ, BigInt(bytes));
  return { input, output };
}

/**
 * Moves bytes between a socket and a pipe inside the kernel.
 *
 * @returns how many, 0 at the end of `from`, -EAGAIN when none can be moved now, or another -errno.
 */
export function spliceBytes(from: number, to: number, length: number): number {
  const moved = c.splice(from, 0n, to, 0n, countOf(length), SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (moved >= 0) return moved;
  const errno = errnoSlot[0] ?? 0;
  if (streamErrnos.has(errno)) return -errno;
  const again = c.splice(from, 0n, to, 0n, countOf(length), SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  return secondAnswer(errno, again);
}

export function closeDescriptor(fd: number): void {
  c.close(fd);
}

/** Sends FIN; 0 or -errno. */
export function shutdownWrite(fd: number): number {
  return c.shutdown(fd, SHUT_WR) === 0 ? 0 : -lastErrno();
}

/** A non-blocking socket that children do not inherit, or -errno. */
export function openSocket(family: number, type: number, protocol = 0): number {
  const fd = c.socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
  return fd >= 0 ? fd : -lastErrno();
}

export function bindSocket(fd: number, address: SharedBytes, length: number): number {
  checkRange(address, 0, length);
  return c.bind(fd, address.address, length) === 0 ? 0 : -lastErrno();
}

export function listenSocket(fd: number, backlog: number): number {
  return c.listen(fd, backlog) === 0 ? 0 : -lastErrno();
}

/**
 * Accepts one connection, non-blocking and not inherited by children.
 *
 * @param peer where the peer's sockaddr goes; @param peerLength 4 bytes, its size, set before each call.
 */
export function acceptSocket(fd: number, peer: SharedBytes, peerLength: SharedBytes): number {
  peerLength.buffer.writeUInt32LE(peer.buffer.length, 0);
  const got = c.accept4(fd, peer.address, peerLength.address, SOCK_NONBLOCK | SOCK_CLOEXEC);
  return got >= 0 ? got : -(errnoSlot[0] ?? 0);
}

/** 0, -EINPROGRESS, or another -errno. */
export function connectSocket(fd: number, address: SharedBytes, length: number): number {
  checkRange(address, 0, length);
  if (c.connect(fd, address.address, length) === 0) return 0;
  const errno = errnoSlot[0] ?? 0;
  if (connectErrnos.has(errno)) return -errno;
  // Overwritten: what the first call began, or has done by now, the second one tells.
  if (c.connect(fd, address.address, length) === 0) return 0;
  const second = lastErrno();
  if (second === EISCONN) return 0;
  return second === EALREADY ? -EINPROGRESS : -second;
}

export function socketName(fd: number, name: SharedBytes, length: SharedBytes): number {
  length.buffer.writeUInt32LE(name.buffer.length, 0);
  return c.getsockname(fd, name.address, length.address) === 0 ? 0 : -lastErrno();
}

export function peerName(fd: number, name: SharedBytes, length: SharedBytes): number {
  length.buffer.writeUInt32LE(name.buffer.length, 0);
  return c.getpeername(fd, name.address, length.address) === 0 ? 0 : -lastErrno();
}

const optionValue = (() => {
  const buffer = Buffer.alloc(8);
  return { buffer, address: ffi.getRawPointer(buffer) };
})();

/** 0 or -errno. */
export function setIntOption(fd: number, level: number, name: number, value: number): number {
  optionValue.buffer.writeInt32LE(value, 0);
  return c.setsockopt(fd, level, name, optionValue.address, 4) === 0 ? 0 : -lastErrno();
}

/**
 * SO_LINGER with no time: a close then sends RST, also the one that the kernel makes when this process is killed. Off
 * again, a close sends what is left, then FIN.
 */
export function setAbortiveClose(fd: number, on: boolean): void {
  optionValue.buffer.writeInt32LE(on ? 1 : 0, 0);
  optionValue.buffer.writeInt32LE(0, 4);
  c.setsockopt(fd, 1, 13, optionValue.address, 8);
}

/** Reads an option into `value`; its length, or -errno. */
export function getOption(
  fd: number,
  level: number,
  name: number,
  value: SharedBytes,
  length: SharedBytes,
): number {
  length.buffer.writeUInt32LE(value.buffer.length, 0);
  if (c.getsockopt(fd, level, name, value.address, length.address) !== 0) return -lastErrno();
  return length.buffer.readUInt32LE(0);
}

/** @param message a msghdr whose parts the caller keeps alive. */
export function sendMessage(fd: number, message: SharedBytes, flags: number): number {
  checkRange(message, 0, MSGHDR_BYTES);
  const sent = c.sendmsg(fd, message.address, flags);
  return sent >= 0 ? sent : -lastErrno();
}

export function receiveMessage(fd: number, message: SharedBytes, flags: number): number {
  checkRange(message, 0, MSGHDR_BYTES);
  const got = c.recvmsg(fd, message.address, flags);
  if (got >= 0) return got;
  const errno = errnoSlot[0] ?? 0;
  if (streamErrnos.has(errno)) return -errno;
  return secondAnswer(errno, c.recvmsg(fd, message.address, flags));
}

export function epollCreate(): number {
  const fd = c.epoll_create1(SOCK_CLOEXEC);
  return fd >= 0 ? fd : -lastErrno();
}

export function epollControl(
  epoll: number,
  operation: number,
  fd: number,
  event: SharedBytes,
): number {
  checkRange(event, 0, EPOLL_EVENT_BYTES);
  return c.epoll_ctl(epoll, operation, fd, event.address) === 0 ? 0 : -lastErrno();
}

/**
 * Sleeps until there are events, or the time is over.
 *
 * @param timeoutMs -1 without end.
 * @returns how many events were written, or -errno; -EINTR for a signal.
 */
export function epollWait(
  epoll: number,
  events: SharedBytes,
  most: number,
  timeoutMs: number,
): number {
  checkRange(events, 0, most * EPOLL_EVENT_BYTES);
  const count = c.epoll_wait(epoll, events.address, most, timeoutMs);
  return count >= 0 ? count : -lastErrno();
}

/** Moves the calling thread into a network namespace; 0 or -errno. */
export function enterNetworkNamespace(fd: number): number {
  return c.setns(fd, CLONE_NEWNET) === 0 ? 0 : -lastErrno();
}

export function isNetworkNamespace(fd: number): boolean {
  return c.ioctl(fd, NS_GET_NSTYPE, 0n) === CLONE_NEWNET;
}

/** A second descriptor of the same thing, not inherited by children; or -errno. */
export function duplicateDescriptor(fd: number): number {
  const copy = c.fcntl(fd, F_DUPFD_CLOEXEC, 3n);
  return copy >= 0 ? copy : -lastErrno();
}

/** Gives what is free in the C library's heap back to the system. */
export function mallocTrim(): void {
  c.malloc_trim(0n);
}

/** The most heaps that the C library may have, for the main thread's and those that it makes from now on; whether it took that. */
export function limitArenas(most: number): boolean {
  return c.mallopt(M_ARENA_MAX, most) === 1;
}
