import { setTimeout as delay } from 'node:timers/promises';
import { Cgroup } from '../cgroup.ts';
import { undoneBy, type ActiveFault, type Fault } from '../fault.ts';

/** A tenth of one processor. */
const QUOTA_US = 10_000;
const RUN_MS = 10;
const REST_MS = 90;

export const processorFault: Fault = {
  name: 'ztunnel of node-1 has a tenth of a processor',
  class: 'processor limited to 10 %',
  spares: {},
  holdMs: 1_500,
  begin: async (place) => {
    const pid = await place.partPid('ztunnel-node-1');
    return limitedByGroup(pid) ?? limitedBySignals(pid);
  },
};

function limitedByGroup(pid: number): ActiveFault | undefined {
  const group = Cgroup.make('cpu');
  if (group === undefined) return undefined;
  group.limit(QUOTA_US);
  group.add(pid);
  return undoneBy(() => {
    group.end();
    return Promise.resolve();
  }, `cgroup v${group.version}`);
}

/** Lets a process run for a tenth of the time, where control groups cannot be written. */
export function limitedBySignals(pid: number, runMs = RUN_MS, restMs = REST_MS): ActiveFault {
  const over = new AbortController();
  const cycling = (async () => {
    while (!over.signal.aborted) {
      process.kill(pid, 'SIGSTOP');
      await delay(restMs);
      process.kill(pid, 'SIGCONT');
      await delay(runMs);
    }
  })().catch(() => undefined); // it has ended
  return undoneBy(
    async () => {
      over.abort();
      await cycling;
    },
    `stopped for ${restMs} ms of every ${runMs + restMs}`,
  );
}
