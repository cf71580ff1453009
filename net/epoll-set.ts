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
import { allocateShared, type SharedBytes } from './native/memory.ts';

/**
 * What a turn handles; more wait in the kernel for the next one. What 64 connections touch, here and in the kernel, is still in
 * a core's cache when the end of the turn writes to them. See docs/decisions/heads-as-bytes.md.
 */
export const EVENTS_PER_POLL = 64;
const EVENT_WORDS = EPOLL_EVENT_BYTES / 4;
const DATA_WORD = EPOLL_DATA_OFFSET / 4;
/** EPOLLIN. */
const READABLE = 1;

/**
 * The descriptors that a thread watches, in an epoll set, and a second set that holds nothing but the first.
 *
 * Who sleeps in the first is woken with the kernel's hint that its waker is about to sleep, and mostly on the waker's
 * processor: the shortest way for a message that comes alone. Under bulk it makes processes take turns that could run at
 * the same time. A set inside a set passes on no hint. See docs/decisions/sleeping-in-the-engine.md.
 */
export class EpollSet {
  readonly #inner = createSet();
  readonly #outer = createSet();
  readonly #events = allocateShared(EVENTS_PER_POLL * EPOLL_EVENT_BYTES);
  /** The same memory: what an event consists of lies at multiples of four bytes. */
  readonly #words = wordsOf(this.#events);
  readonly #change = allocateShared(EPOLL_EVENT_BYTES);

  constructor() {
    this.#change.buffer.writeUInt32LE(READABLE, 0);
    const result = epollControl(this.#outer, EPOLL_CTL_ADD, this.#inner, this.#change);
    if (result < 0) throw systemError(-result, 'watch an epoll set');
  }

  /**
   * Adds, changes or removes a descriptor.
   *
   * @param operation EPOLL_CTL_ADD and so on.
   * @param tag 31 bits, or -1, that come back with its events.
   * @throws {Error} what the system says.
   */
  control(operation: number, fd: number, mask: number, tag: number): void {
    const { buffer } = this.#change;
    buffer.writeUInt32LE(mask >>> 0, 0);
    buffer.writeInt32LE(fd, EPOLL_DATA_OFFSET);
    buffer.writeInt32LE(tag, EPOLL_DATA_OFFSET + 4);
    const result = epollControl(this.#inner, operation, fd, this.#change);
    if (result < 0) throw systemError(-result, `watch descriptor ${fd}`);
  }

  /**
   * Waits for events; how many there are, below 1 for none.
   *
   * @param timeoutMs 0 to look only, -1 without end.
   * @param bulk much is moved: a wake-up need not be short.
   */
  wait(timeoutMs: number, bulk: boolean): number {
    let restMs = timeoutMs;
    if (bulk && timeoutMs !== 0) {
      epollWait(this.#outer, this.#events, 1, timeoutMs);
      restMs = 0;
    }
    return epollWait(this.#inner, this.#events, EVENTS_PER_POLL, restMs);
  }

  /** Of the event with that number of the last wait(). */
  descriptorAt(index: number): number {
    return this.#words[index * EVENT_WORDS + DATA_WORD] ?? 0;
  }

  tagAt(index: number): number {
    return this.#words[index * EVENT_WORDS + DATA_WORD + 1] ?? 0;
  }

  maskAt(index: number): number {
    return this.#words[index * EVENT_WORDS] ?? 0;
  }

  close(): void {
    closeDescriptor(this.#outer);
    closeDescriptor(this.#inner);
  }
}

function wordsOf({ buffer }: SharedBytes): Int32Array {
  return new Int32Array(buffer.buffer, buffer.byteOffset, buffer.length / 4);
}

function createSet(): number {
  const fd = epollCreate();
  if (fd < 0) throw systemError(-fd, 'create an epoll set');
  return fd;
}
