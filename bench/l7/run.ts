import { describeError } from '../../base/errors.ts';
import type { Row } from '../harness/rows.ts';
import type { Outcome } from '../harness/run-quietly.ts';
import type { Job, Measuring } from './job.ts';
import { startProxyJob } from './proxy-job.ts';
import type { Question } from './questions.ts';
import { startWaypointJob } from './waypoint-job.ts';

export type L7Settings = Measuring &
  Readonly<{
    questions: readonly Question[];
    /** Told again and again what there is so far. */
    onOutcome(soFar: Outcome): void;
  }>;

const STARTS = { waypoint: startWaypointJob, proxy: startProxyJob } as const;

/**
 * What does a request cost a waypoint, and a plain reverse proxy? A question that fails is told and does not keep the others
 * from being asked.
 */
export async function runL7({ questions, onOutcome, ...measuring }: L7Settings): Promise<Outcome> {
  const rows: Row[] = [];
  const failures: { question: string; error: string }[] = [];
  const notCompared: string[] = [];
  const fail = (question: string, error: unknown): void => {
    const [first = ''] = describeError(error).split('\n');
    measuring.note(`${question} failed: ${first}`);
    failures.push({ question, error: first });
  };
  const askAll = async (name: Job['name'], asked: readonly Question[]): Promise<void> => {
    measuring.note(`${name}: starting all that is measured`);
    await using stack = new AsyncDisposableStack();
    const job = await STARTS[name](stack);
    notCompared.push(...job.notCompared);
    for (const question of asked) {
      const onRows = (soFar: readonly Row[]): void => {
        onOutcome({ rows: [...rows, ...soFar], failures, notCompared });
      };
      try {
        rows.push(...(await question.ask(job, measuring, onRows)));
      } catch (error) {
        fail(question.name, error);
      }
      onRows([]);
    }
  };
  for (const name of ['waypoint', 'proxy'] as const) {
    const asked = questions.filter(({ job }) => job === name);
    try {
      if (asked.length > 0) await askAll(name, asked);
    } catch (error) {
      fail(name, error);
    }
  }
  return { rows, failures, notCompared };
}
