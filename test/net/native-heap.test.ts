import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import test from 'ava';

const PROGRAM = join(import.meta.dirname, 'programs/native-heaps.ts');

/** How many heaps a process with one thread of V8's makes for six of its own. */
function heapsMade(...args: readonly string[]): number {
  const flags = ['--disable-warning=ExperimentalWarning', '--v8-pool-size=1'];
  return Number(execFileSync(process.execPath, [...flags, PROGRAM, ...args]));
}

test('threads share native heaps once they are told to', (t) => {
  t.true(heapsMade() >= 4, 'otherwise each gets its own');
  t.true(heapsMade('shared') <= 1);
});
