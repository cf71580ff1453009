import { makeRow } from '../harness/rows.ts';
import type { Question } from './context.ts';
import { runAlone } from './ztunnel-alone.ts';

const WORKLOADS = 10_000;
const SERVICES = 1_000;

/** How long from the start of the process until it is ready, its compile cache warm? Design, perf-S1. */
export const start: Question = {
  name: 'start',
  async ask({ rounds, note }) {
    note('start: with nothing to know');
    const empty = await runAlone({ workloads: 0, services: 0, starts: rounds, memory: false });
    note(`start: with ${WORKLOADS} workloads`);
    const full = await runAlone({
      ...{ workloads: WORKLOADS, services: SERVICES, starts: rounds, memory: false },
    });
    return [
      makeRow({
        ...{ metric: 'perf-S1 start to ready', unit: 'ms', better: 'lower' },
        ...{ ours: empty.startsMs, budget: { must: 500, aim: 200 } },
      }),
      makeRow({
        metric: `start to ready, ${WORKLOADS} workloads and ${SERVICES} services`,
        ...{ unit: 'ms', better: 'lower', ours: full.startsMs },
      }),
    ];
  },
};
