import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { shareNativeHeaps } from '../../../net/native-heap.ts';

/*
 * native-heaps.ts [shared]: prints how many heaps the C library has made for threads while six of them wanted memory at the
 * same time.
 */

const THREADS = 6;
/** What is reserved for each, of which a part is used; glibc malloc/arena.c HEAP_MAX_SIZE on 64 bits. */
const HEAP_BYTES = 64n << 20n;

function countHeaps(): number {
  let heaps = 0;
  let [from, to] = [0n, 0n];
  for (const line of readFileSync('/proc/self/maps', 'utf8').split('\n')) {
    const [, start, end, access] = /^([0-9a-f]+)-([0-9a-f]+) (\S+) 0+ 00:00 0\s*$/.exec(line) ?? [];
    if (start === undefined || end === undefined) continue;
    if (access === 'rw-p') [from, to] = [BigInt(`0x${start}`), BigInt(`0x${end}`)];
    else if (access === '---p' && to === BigInt(`0x${start}`))
      if (from % HEAP_BYTES === 0n && BigInt(`0x${end}`) === from + HEAP_BYTES) heaps++;
  }
  return heaps;
}

if (isMainThread) {
  const before = countHeaps();
  if (process.argv[2] === 'shared' && !shareNativeHeaps()) throw new Error('Cannot share heaps');
  const threads = Array.from({ length: THREADS }, () => new Worker(new URL(import.meta.url)));
  await Promise.all(threads.map((thread) => once(thread, 'message')));
  console.log(countHeaps() - before);
  process.exit();
} else {
  const kept = Array.from({ length: 1000 }, () => Buffer.allocUnsafeSlow(3000));
  parentPort?.postMessage(kept.length);
  setInterval(() => kept, 1000);
}
