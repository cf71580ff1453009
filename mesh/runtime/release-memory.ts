import v8 from 'node:v8';
import vm from 'node:vm';
import { trimNativeHeap } from '../../net/native-heap.ts';

type Collector = (options?: Readonly<{ type: 'minor' }>) => void;

let collect: Collector | undefined;

/**
 * Gives back what a large piece of work has left behind: this thread's garbage, then the process's free native memory,
 * which neither V8 nor the C library does by itself for a long time. Blocks the thread for 10 to 20 ms with the state of
 * 10,000 workloads, so it is for the end of a start or of a flood.
 */
export function releaseMemory(): void {
  collect ??= findCollector();
  collect();
  // V8 frees the memory of buffers in a thread of its own after a collection; the next one, however small, waits for that.
  collect({ type: 'minor' });
  trimNativeHeap();
}

/** V8 shows its collector to a context that is made while this flag is set. */
function findCollector(): Collector {
  v8.setFlagsFromString('--expose-gc');
  const found: unknown = vm.runInNewContext('gc');
  v8.setFlagsFromString('--no-expose-gc');
  return typeof found === 'function' ? (found as Collector) : () => undefined;
}
