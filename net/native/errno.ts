import ffi from 'node:ffi';
import os from 'node:os';
import { MeshError, type Side } from '../../base/errors.ts';
import { openLibrary } from './library.ts';

/*
 * errno is read through a view of this thread's own variable: a nanosecond, no call, no garbage. It must be the very
 * next expression after the call: a collection in between may change it.
 */
const library = openLibrary({
  __errno_location: { return: 'pointer', arguments: [] },
});
const bytes = ffi.toBuffer(library.functions.__errno_location(), 4, false);
/**
 * errno itself, for calls whose error is told once or decides what is done: a call of lastErrno() is, until V8 has compiled it away, a
 * place where it may collect or compile, and overwrite errno.
 */
export const errnoSlot = new Int32Array(bytes.buffer, bytes.byteOffset, 1);

export const EPERM = 1;
export const ENOENT = 2;
export const EINTR = 4;
export const EIO = 5;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EACCES = 13;
export const EFAULT = 14;
export const ENFILE = 23;
export const EMFILE = 24;
export const EPIPE = 32;
export const EADDRINUSE = 98;
export const EADDRNOTAVAIL = 99;
export const ENETDOWN = 100;
export const ENETUNREACH = 101;
export const ECONNABORTED = 103;
export const ECONNRESET = 104;
export const ENOBUFS = 105;
export const EISCONN = 106;
export const ENOTCONN = 107;
export const ETIMEDOUT = 110;
export const ECONNREFUSED = 111;
export const EHOSTUNREACH = 113;
export const EALREADY = 114;
export const EINPROGRESS = 115;

/** The error number of the call just made on this thread. */
export function lastErrno(): number {
  return errnoSlot[0] ?? 0;
}

/** Of two names for one number (EAGAIN, EWOULDBLOCK) the first. */
const names = new Map(
  Object.entries(os.constants.errno)
    .map(([name, value]): [number, string] => [value, name])
    .reverse(),
);

/** `ECONNREFUSED` for 111. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `errno ${errno}`;
}

/**
 * @param errno positive.
 * @param action what could not be done: "connect to 10.0.0.1:80".
 */
export function systemError(errno: number, action: string, side: Side = 'local'): MeshError {
  return new MeshError(
    `ERR_SYSTEM_${errnoName(errno)}`,
    side,
    `Cannot ${action}: ${errnoName(errno)}`,
  );
}
