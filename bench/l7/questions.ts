import type { Row } from '../harness/rows.ts';
import { askCost } from './cost.ts';
import type { Job, Measuring } from './job.ts';
import { askLatency } from './latency.ts';
import { WORKS } from './works.ts';

/** One question of the benchmark. */
export type Question = Readonly<{
  name: string;
  /** Who is asked. */
  job: Job['name'];
  ask(
    job: Job,
    measuring: Measuring,
    onRows: (rows: readonly Row[]) => void,
  ): Promise<readonly Row[]>;
}>;

const JOBS: readonly Job['name'][] = ['waypoint', 'proxy'];

/** All of the benchmark, in the order of a run. */
export const QUESTIONS: readonly Question[] = JOBS.flatMap((job) => [
  ...WORKS.map(
    (work): Question => ({
      ...{ name: `${job}-${work.name}`, job },
      ask: (asked, measuring, onRows) => askCost(asked, work, measuring, onRows),
    }),
  ),
  { name: `${job}-latency`, job, ask: askLatency },
]);
