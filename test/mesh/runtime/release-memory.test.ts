import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { releaseMemory } from '../../../mesh/runtime/release-memory.ts';
import { processMemory } from '../../../bench/harness/processes.ts';

test('releaseMemory() gives the garbage of a large piece of work back to the system', async (t) => {
  t.timeout(20_000);
  let work: unknown[] | undefined = Array.from({ length: 400_000 }, (_, n) => ({ text: `${n}` }));
  const native = Array.from({ length: 4000 }, () => Buffer.allocUnsafeSlow(8 << 10).fill(1));
  const { privateDirty: before } = processMemory([process.pid]);
  t.is(work.length, 400_000);
  work = undefined;
  native.length = 0;
  releaseMemory();
  // V8 unmaps pages in threads of its own, a little later.
  while (processMemory([process.pid]).privateDirty > before - (32 << 20)) await delay(20);
  t.pass();
});
