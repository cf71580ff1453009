import { writeFileSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { parseArgs } from 'node:util';
import { describeError, MeshError } from '../base/errors.ts';
import { coefficientsOf } from './ambient/coefficients.ts';
import { changePlan, PLANS } from './ambient/plans.ts';
import { writeReport } from './ambient/report.ts';
import { readAmbientResults } from './ambient/results.ts';
import { runAmbient } from './ambient/run.ts';
import { compareRuns, formatChanges } from './harness/compare.ts';
import { formatProfile, functionTimes, readProfile } from './harness/profile.ts';
import { formatPublication } from './harness/publication.ts';
import { readResults, writeResults } from './harness/results.ts';
import { formatOutcome, runQuietly, type Outcome } from './harness/run-quietly.ts';
import { QUESTIONS } from './l4/questions.ts';
import { PEERS, runL4 } from './l4/run.ts';
import { VERSION_COMMANDS } from './l7/proxies.ts';
import { QUESTIONS as L7_QUESTIONS } from './l7/questions.ts';
import { runL7 } from './l7/run.ts';
import { runScaleBenchmark } from './scale/run.ts';

/*
 * npm run bench -- l4 [options]       one run; see README.md beside this file
 * npm run bench -- l7 [options]       the same, of waypoints and of plain HTTP proxies
 * npm run bench -- ambient [options]  no mesh, this one and sidecars under one application
 * npm run bench -- scale [options]    control plane and proxy with thousands of workloads
 * npm run bench -- coefficients FILE   has `halo cost` reckon with a run of "ambient"
 * npm run bench -- compare A B        what differs between two runs' files
 * npm run bench -- publish FILE       copies a run's file, and what it proves as a page, to docs/benchmarks
 * npm run bench -- profile FILE...    where the time goes in files of --cpu-prof
 */

const USAGE = `usage: npm run bench -- l4 [--rounds N] [--seconds S] [--only QUESTION,...] [--env NAME=VALUE]
                              [--out FILE] [--allow-busy]
       npm run bench -- l7 [--rounds N] [--seconds S] [--only QUESTION,...] [--connections N,...] [--quick] [--out FILE]
                              [--allow-busy]
       npm run bench -- ambient [--quick | --full] [--pods N,...] [--modes MODE,...] [--rounds N] [--out FILE]
                              [--allow-busy]
       npm run bench -- scale [--full] [--out FILE] [--allow-busy]
       npm run bench -- coefficients FILE
       npm run bench -- compare A B
       npm run bench -- publish FILE
       npm run bench -- profile FILE...
questions of l4: ${QUESTIONS.map(({ name }) => name).join(', ')}
questions of l7: ${L7_QUESTIONS.map(({ name }) => name).join(', ')};
                 waypoint and proxy: all of them
`;
const HELP = new Set(['--help', '-h', 'help']);
const FOLDER = join(import.meta.dirname, 'results');
const PUBLISHED = join(import.meta.dirname, '../docs/benchmarks');
const COEFFICIENTS = join(import.meta.dirname, '../cli/cost/coefficients.json');
/** The exit codes of the `halo` command: 1 failed, 2 not understood. */
const [OK, FAILED, USAGE_ERROR] = [0, 1, 2];
/** Beyond these nothing is left that could be gained. */
const PROFILE_LINES = 30;
/** Fewer rounds prove nothing. Design: at least 5. */
const MIN_ROUNDS = 5;
/** To see whether all works and where things stand. */
const QUICK_ROUNDS = 2;
/** The part of them for rows without a goal. */
const FEW_ROUNDS = 0.4;

const OPTIONS = {
  rounds: { type: 'string', default: String(MIN_ROUNDS) },
  out: { type: 'string' },
  'allow-busy': { type: 'boolean', default: false },
} as const;

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(FAILED)); // what was started ends with this process
process.exitCode = await main(process.argv.slice(2));

async function main([command = '', ...args]: readonly string[]): Promise<number> {
  if ([command, ...args].some((arg) => HELP.has(arg))) {
    process.stdout.write(USAGE);
    return OK;
  }
  try {
    if (command === 'l4') return await benchL4(args);
    if (command === 'l7') return await benchL7(args);
    if (command === 'ambient') return await benchAmbient(args);
    if (command === 'scale') return await benchScale(args);
    if (command === 'coefficients' && args.length === 1) return writeCoefficients(args[0] ?? '');
    if (command === 'compare' && args.length === 2) return compare(args);
    if (command === 'publish' && args.length === 1) return await publish(args[0] ?? '');
    if (command === 'profile' && args.length > 0) return showProfiles(args);
  } catch (error) {
    process.stderr.write(`bench: ${describeError(error)}\n`);
    return FAILED;
  }
  process.stderr.write(USAGE);
  return USAGE_ERROR;
}

async function benchL4(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...OPTIONS,
      seconds: { type: 'string', default: '2' },
      only: { type: 'string' },
      env: { type: 'string', multiple: true, default: [] },
    },
  });
  const questions = selectQuestions(QUESTIONS, values.only);
  const environment = Object.fromEntries(values.env.map(readVariable));
  const programs = Object.fromEntries(
    PEERS.map(({ name, versionCommand }) => [name, versionCommand]),
  );
  const more = { questions: questions.map(({ name }) => name), environment };
  return await bench('l4', values, programs, more, (measuring, onOutcome) =>
    runL4({ ...measuring, note, questions, environment, onAnswer: onOutcome }),
  );
}

/** A waypoint against Envoy, then a plain proxy against nginx, HAProxy and Envoy. */
async function benchL7(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...{ ...OPTIONS, rounds: { type: 'string' }, seconds: { type: 'string', default: '0.8' } },
      ...{ only: { type: 'string' }, connections: { type: 'string' } },
      quick: { type: 'boolean', default: false },
    },
  });
  const questions = selectQuestions(L7_QUESTIONS, values.only);
  const connections = (values.connections ?? (values.quick ? '32' : '1,32,256'))
    .split(',')
    .map((text) => readNumber('connections', text));
  const rounds = values.rounds ?? String(values.quick ? QUICK_ROUNDS : MIN_ROUNDS);
  const more = { questions: questions.map(({ name }) => name), connections };
  return await bench(
    'l7',
    { ...values, rounds },
    VERSION_COMMANDS,
    more,
    (measuring, onOutcome) => {
      const fewRounds = Math.max(1, Math.round(measuring.rounds * FEW_ROUNDS));
      return runL7({ ...measuring, fewRounds, connections, questions, note, onOutcome });
    },
  );
}

type Measuring = Readonly<{ rounds: number; ms: number; warmMs: number }>;

/** A run of so many rounds of so many seconds. */
async function bench(
  benchmark: string,
  values: Readonly<{ rounds: string; seconds: string; out?: string; 'allow-busy': boolean }>,
  programs: Readonly<Record<string, readonly string[]>>,
  more: Readonly<Record<string, unknown>>,
  measure: (measuring: Measuring, onOutcome: (soFar: Outcome) => void) => Promise<Outcome>,
): Promise<number> {
  const [rounds, seconds] = [
    readNumber('rounds', values.rounds),
    readNumber('seconds', values.seconds),
  ];
  const measuring = { rounds, ms: seconds * 1000, warmMs: Math.min(500, seconds * 500) };
  const run = await runQuietly({
    ...{ benchmark, programs, settings: { rounds, seconds, ...more } },
    ...{ path: resultsPath(values.out ?? `${benchmark}.json`), allowBusy: values['allow-busy'] },
    ...{ note, measure: (onOutcome: (soFar: Outcome) => void) => measure(measuring, onOutcome) },
  });
  process.stdout.write(formatOutcome(run.results));
  return run.passed ? OK : FAILED;
}

async function benchAmbient(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...{ quick: { type: 'boolean', default: false }, full: { type: 'boolean', default: false } },
      ...{ pods: { type: 'string' }, modes: { type: 'string' }, rounds: { type: 'string' } },
      ...{ out: OPTIONS.out, 'allow-busy': OPTIONS['allow-busy'] },
    },
  });
  const named = values.quick ? PLANS.quick : values.full ? PLANS.full : PLANS.standard;
  const plan = changePlan(named, values);
  const path = resultsPath(values.out ?? 'ambient.json');
  const passed = await runAmbient({ plan, path, allowBusy: values['allow-busy'], note });
  return passed ? OK : FAILED;
}

async function benchScale(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      full: { type: 'boolean', default: false },
      ...{ out: OPTIONS.out, 'allow-busy': OPTIONS['allow-busy'] },
    },
  });
  const path = resultsPath(values.out ?? 'scale.json');
  const { full, 'allow-busy': allowBusy } = values;
  return (await runScaleBenchmark({ full, path, allowBusy, note })) ? OK : FAILED;
}

function writeCoefficients(file: string): number {
  const coefficients = coefficientsOf(readAmbientResults(file));
  writeFileSync(COEFFICIENTS, `${JSON.stringify(coefficients, null, 2)}\n`);
  note(`written to ${COEFFICIENTS}`);
  return OK;
}

function resultsPath(out: string): string {
  return isAbsolute(out) ? out : join(FOLDER, out);
}

function compare([before = '', after = '']: readonly string[]): number {
  const changes = compareRuns(readResults(before), readResults(after));
  process.stdout.write(formatChanges(changes));
  return changes.some(({ verdict }) => verdict === 'worse') ? FAILED : OK;
}

async function publish(file: string): Promise<number> {
  const results = readResults(file);
  if (!results.quiet)
    throw benchError('ERR_BENCH_RESULTS', 'a run on a busy machine proves nothing');
  const { benchmark } = results;
  const path = join(PUBLISHED, `${benchmark}.json`);
  writeResults(path, results);
  if (benchmark === 'ambient') await writeReport(path, readAmbientResults(path));
  else
    writeFileSync(
      join(PUBLISHED, `${benchmark}.md`),
      formatPublication(results, `npm run bench -- ${benchmark}`),
    );
  note(`published in ${PUBLISHED}`);
  return OK;
}

function showProfiles(files: readonly string[]): number {
  for (const file of files)
    process.stdout.write(
      `${file}\n${formatProfile(functionTimes(readProfile(file)), PROFILE_LINES)}\n`,
    );
  return OK;
}

/** @param only names of questions, or of what several of them are about, such as `waypoint`. */
function selectQuestions<Question extends Readonly<{ name: string; job?: string }>>(
  questions: readonly Question[],
  only: string | undefined,
): readonly Question[] {
  if (only === undefined) return questions;
  const names = only.split(',');
  const isNamed = ({ name, job }: Question, by: string): boolean => name === by || job === by;
  const unknown = names.find((by) => !questions.some((question) => isNamed(question, by)));
  if (unknown !== undefined)
    throw benchError('ERR_BENCH_USAGE', `there is no question ${JSON.stringify(unknown)}`);
  return questions.filter((question) => names.some((by) => isNamed(question, by)));
}

function readNumber(option: string, text: string): number {
  const value = Number(text);
  if (value > 0) return value;
  throw benchError('ERR_BENCH_USAGE', `--${option} ${JSON.stringify(text)} is no positive number`);
}

function readVariable(text: string): [string, string] {
  const at = text.indexOf('=');
  if (at > 0) return [text.slice(0, at), text.slice(at + 1)];
  throw benchError('ERR_BENCH_USAGE', `--env ${JSON.stringify(text)} is not NAME=VALUE`);
}

function benchError(code: string, found: string): MeshError {
  return new MeshError(code, 'local', `Cannot run the benchmark: ${found}`);
}

function note(text: string): void {
  process.stderr.write(`bench: ${text}\n`);
}
