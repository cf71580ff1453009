import { systemError } from './native/errno.ts';
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
