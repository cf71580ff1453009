import { MeshError } from '../../base/errors.ts';
import { recordEnvironment } from './environment.ts';
import { lookAtLoad, watchOthers } from './machine-load.ts';
import { writeResults, type Results } from './results.ts';
import { formatRows } from './table.ts';

export type Outcome = Pick<Results, 'rows' | 'failures' | 'notCompared'>;

export type QuietRun<T extends Outcome> = Readonly<{
  benchmark: string;
  /** Whose versions are recorded: by name, the command that prints it. */
  programs: Readonly<Record<string, readonly string[]>>;
  settings: Readonly<Record<string, unknown>>;
  /** Of the results. */
  path: string;
  allowBusy: boolean;
  note(text: string): void;
  measure(onOutcome: (soFar: T) => void): Promise<T>;
}>;

/**
 * One run on a quiet machine, with what it was run on; a run that is interrupted leaves what it has.
 *
 * @returns `passed` when every must is met, everything could be measured, and the machine was quiet throughout.
 * @throws {MeshError} ERR_BENCH_BUSY when it is busy now and that is not allowed.
 */
export async function runQuietly<T extends Outcome>({
  allowBusy,
  note,
  path,
  ...parts
}: QuietRun<T>): Promise<Readonly<{ results: Results & T; passed: boolean }>> {
  const { quiet, busy } = await lookAtLoad();
  const percent = formatPercent(busy);
  if (!quiet && !allowBusy) {
    const mend = 'wait until it is quiet, or measure all the same with --allow-busy';
    const found = `the machine is busy (${percent}); ${mend}`;
    throw new MeshError('ERR_BENCH_BUSY', 'local', `Cannot run the benchmark: ${found}`);
  }
  if (!quiet) note(`the machine is busy (${percent}): these figures prove nothing`);
  const run = {
    ...{ benchmark: parts.benchmark, startedAt: new Date().toISOString() },
    ...{ environment: recordEnvironment(parts.programs), settings: parts.settings },
  };
  const others = watchOthers();
  const outcome = await parts.measure((soFar) => {
    writeResults(path, { ...run, quiet: false, ...soFar });
  });
  const meanwhile = others();
  const results = { ...run, quiet: quiet && meanwhile.quiet, ...outcome };
  writeResults(path, results);
  note(`written to ${path}`);
  if (!meanwhile.quiet)
    note(`others used ${formatPercent(meanwhile.busy)} meanwhile: these figures prove nothing`);
  const missed = results.rows.some(({ meetsMust }) => meetsMust === false);
  const valid = results.quiet || allowBusy;
  return { results, passed: !missed && valid && results.failures.length === 0 };
}

/** The table of a run, what could not be measured, and what is not compared. */
export function formatOutcome({ rows, failures, notCompared = [] }: Outcome): string {
  const lines = [
    ...failures.map(({ question, error }) => `not measured: ${question}: ${error}\n`),
    ...notCompared.map((line) => `not compared: ${line}\n`),
  ];
  return formatRows(rows) + lines.join('');
}

function formatPercent(part: number): string {
  return `${(part * 100).toFixed(0)} %`;
}
