import { shareNativeHeaps } from '../../net/native-heap.ts';
import { releaseWhenQuiet } from './release-when-quiet.ts';
import { trimNativeHeapsRegularly } from './trim-native-heaps.ts';

/**
 * For the control thread of a proxy, before it starts others: the process keeps no more memory than it uses, as far as that
 * costs nothing. See docs/decisions/memory.md. Stops when disposed.
 */
export function spareMemory(): Disposable {
  shareNativeHeaps();
  const stack = new DisposableStack();
  stack.use(trimNativeHeapsRegularly());
  stack.use(releaseWhenQuiet());
  return stack;
}
