import { EMFILE, ENFILE, ENOBUFS, ENOMEM, systemError } from './native/errno.ts';
import { duplicateDescriptor } from './native/libc.ts';

/**
 * A second descriptor of the same thing, which lives on its own.
 *
 * @throws {MeshError} ERR_SYSTEM_EMFILE when the process has no more.
 */
export function duplicate(fd: number): number {
  const copy = duplicateDescriptor(fd);
  if (copy < 0) throw systemError(-copy, `duplicate descriptor ${fd}`);
  return copy;
}

/** Without descriptors or memory to accept with, waiting beats spinning; the kernel's queue holds the callers meanwhile. */
export const EXHAUSTED_PAUSE_MS = 100;

/** Whether accept() failed in a way that leaves the caller in the queue, so that asking again at once is spinning. */
export function isExhausted(errno: number): boolean {
  return errno === EMFILE || errno === ENFILE || errno === ENOBUFS || errno === ENOMEM;
}
