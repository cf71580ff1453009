import { systemError } from './native/errno.ts';
import {
  closeDescriptor,
  EPOLL_CTL_ADD,
  EPOLL_DATA_OFFSET,
  EPOLL_EVENT_BYTES,
  epollControl,
  epollCreate,
  epollWait,
} from './native/libc.ts';
import { allocateShared } from './native/memory.ts';
import { READABLE } from './reactor.ts';

/**
 * Which of these descriptors have something to read or to accept now; the answer costs one system call for each.
 *
 * @throws {MeshError} ERR_SYSTEM_EMFILE and the like, ERR_SYSTEM_EBADF for one that is closed.
 */
export function findReadable(descriptors: readonly number[]): ReadonlySet<number> {
  const readable = new Set<number>();
  if (descriptors.length === 0) return readable;
  const epoll = epollCreate();
  if (epoll < 0) throw systemError(-epoll, 'create an epoll set');
  try {
    const change = allocateShared(EPOLL_EVENT_BYTES);
    for (const fd of descriptors) {
      change.buffer.writeUInt32LE(READABLE, 0);
      change.buffer.writeInt32LE(fd, EPOLL_DATA_OFFSET);
      const result = epollControl(epoll, EPOLL_CTL_ADD, fd, change);
      if (result < 0) throw systemError(-result, `look at descriptor ${fd}`);
    }
    const events = allocateShared(descriptors.length * EPOLL_EVENT_BYTES);
    const count = epollWait(epoll, events, descriptors.length, 0);
    if (count < 0) throw systemError(-count, 'look at descriptors');
    for (let index = 0; index < count; index++)
      readable.add(events.buffer.readInt32LE(index * EPOLL_EVENT_BYTES + EPOLL_DATA_OFFSET));
    return readable;
  } finally {
    closeDescriptor(epoll);
  }
}
