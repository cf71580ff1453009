import { describeError } from '../../base/errors.ts';
import type { Results } from '../harness/results.ts';
import { formatOutcome, runQuietly } from '../harness/run-quietly.ts';
import { ENVOY_VERSION_COMMAND } from '../peers/envoy.ts';
import { REPLICAS, SENDERS } from './application.ts';
import { makeCallGraph } from './call-graph.ts';
import { Deployment } from './deployment.ts';
import { measure } from './measure.ts';
import { MODES, type ModeName } from './modes.ts';
import type { Plan } from './plans.ts';
import { writeReport } from './report.ts';
import type { AmbientOutcome } from './results.ts';
import { rowsOf, type ModeSample } from './rows.ts';

export type AmbientRun = Readonly<{
  plan: Plan;
  path: string;
  allowBusy: boolean;
  note(text: string): void;
}>;

/** The whole comparison. @returns whether it is valid and meets what it must. */
export async function runAmbient({ plan, path, allowBusy, note }: AmbientRun): Promise<boolean> {
  const { results, passed } = await runQuietly<AmbientOutcome>({
    ...{ benchmark: 'ambient', settings: { ...plan }, path, allowBusy, note },
    programs: { envoy: ENVOY_VERSION_COMMAND, nginx: ['nginx', '-v'] },
    measure: (onOutcome) => measureAll(plan, note, onOutcome),
  });
  process.stdout.write(formatOutcome(results));
  note(`the report is ${await writeReport(path, { ...results, settings: plan })}`);
  if (!plan.judges) note('the goals are about 100 pods: they are not judged by this run');
  return passed;
}

/** Every mode once a repetition, each repetition beginning with the next one, so that drift meets all alike. */
async function measureAll(
  plan: Plan,
  note: (text: string) => void,
  onOutcome: (soFar: AmbientOutcome) => void,
): Promise<AmbientOutcome> {
  const samples: ModeSample[] = [];
  const failures: Results['failures'][number][] = [];
  const steps = plan.pods.length * plan.repetitions * plan.modes.length;
  let step = 0;
  const outcome = (): AmbientOutcome => ({ samples, failures, rows: rowsOf(samples, plan.judges) });
  for (const pods of plan.pods)
    for (let repetition = 0; repetition < plan.repetitions; repetition++)
      for (let turn = 0; turn < plan.modes.length; turn++) {
        const name = plan.modes[(repetition + turn) % plan.modes.length] ?? 'none';
        const tell = (text: string): void => {
          note(`${step} of ${steps}: ${pods} pods, ${text}`);
        };
        step++;
        try {
          const sample = await measureMode(plan, pods, name, tell);
          samples.push({ ...sample, mode: name, pods, repetition });
        } catch (error) {
          const question = `${name}, ${pods} pods, repetition ${repetition + 1}`;
          failures.push({ question, error: describeError(error) });
          note(`${question}: ${describeError(error)}`);
        }
        onOutcome(outcome());
      }
  return outcome();
}

async function measureMode(
  plan: Plan,
  pods: number,
  name: ModeName,
  note: (text: string) => void,
): Promise<Awaited<ReturnType<typeof measure>>> {
  const mode = MODES.find((one) => one.name === name);
  if (mode === undefined) throw new Error(`Cannot measure ${name}: there is no such mode`);
  note(`${name}: starting`);
  const { podStarts } = plan.measure;
  await using deployment = await Deployment.start({
    ...{ mode, graph: makeCallGraph((pods - SENDERS) / REPLICAS), nodes: plan.nodes },
    ...{ late: podStarts, beside: podStarts },
  });
  return await measure(deployment, plan.measure, note);
}
