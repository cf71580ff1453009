import { mallocTrim } from './native/libc.ts';

/** Gives free memory of this process's native heap back to the system. */
export function trimNativeHeap(): void {
  mallocTrim();
}
