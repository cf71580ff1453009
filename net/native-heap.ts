import { limitArenas, mallocTrim } from './native/libc.ts';

/** Gives free memory of this process's native heap back to the system. */
export function trimNativeHeap(): void {
  mallocTrim();
}

/** Two, so that a data thread mostly has one to itself. */
const ARENAS = 2;

/**
 * Has the threads that start from now on share native heaps, of which each would otherwise get one of its own: what a thread
 * of V8 has freed after compiling is then of use to those that move bytes. False where the C library does not know how.
 */
export function shareNativeHeaps(): boolean {
  return limitArenas(ARENAS);
}
