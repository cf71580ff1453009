import { parentPort, workerData } from 'node:worker_threads';
import type { TokenLimit } from '../../mesh/model/rate-limit.ts';
import {
  markOf,
  ProcessBuckets,
  processTimeNs,
} from '../../waypoint/rate-limit/process-buckets.ts';

/* Takes one token after another out of the buckets of some keys, and tells how many it got. */

type Task = Readonly<{ memory: SharedArrayBuffer; limit: TokenLimit; keys: number; tries: number }>;

const { memory, limit, keys, tries } = workerData as Task;
const buckets = new ProcessBuckets(memory);
const marks = Array.from({ length: keys }, (_, key) => markOf('counter', String(key)));
let got = 0;
for (let index = 0; index < tries; index++) {
  const mark = marks[index % keys] ?? 0n;
  if (buckets.take(mark, limit, 1, processTimeNs()) === true) got++;
}
parentPort?.postMessage(got);
