/**
 * Runs ava and says what came of it: each failing test in full as it happens, how far the run is now and then,
 * all failures again in short at the end, and `N passed, N failed` as the last line. Exits with 1 on any failure, on a run that broke off, and when no test ran.
 * Without arguments all tests run, those last and one file at a time that load a whole mesh and look at the clock.
 *
 *     node test/support/run-tests.ts [ava arguments]
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { endWorkers } from './hung-workers.ts';
import { TapReport, type TapResult } from './tap-report.ts';

/** Often enough to see that it moves; a log of a whole run is read, and wants fewer lines. */
const PROGRESS_INTERVAL_MS = process.stdout.isTTY ? 5_000 : 30_000;
/** Above ava's own timeout, which ends with a signal that a process with a blocked loop does not hear. */
const HUNG_MS = Number(process.env['HALO_TEST_HUNG_MS'] ?? 8 * 60_000);
/** What such a test says of time, it says of a machine without other tests on it. */
const ALONE = ['attacks', 'faults', 'lifecycle'];

const ava = join(import.meta.dirname, '../../node_modules/ava/entrypoints/cli.js');
const reporting = ['--import', join(import.meta.dirname, 'report-timeouts.ts')];

const given = process.argv.slice(2);
const results: TapResult[] = [];
for (const args of given.length > 0 ? [given] : wholeRuns()) results.push(await runAva(args));
const passed = results.reduce((sum, result) => sum + result.passed, 0);
const failed = results.reduce((sum, result) => sum + result.failed, 0);
for (const failure of results.flatMap((result) => result.failures))
  process.stdout.write(`\nFailed: ${failure}\n`);
process.stdout.write(`${passed} passed, ${failed} failed\n`);
process.exitCode = failed > 0 ? 1 : 0;

/** Ava's arguments for all tests. Where no test wants to be alone, one run of whatever ava finds. */
function wholeRuns(): readonly (readonly string[])[] {
  const alone = ALONE.flatMap((folder) => globSync(`test/${folder}/**/*.test.ts`));
  if (alone.length === 0) return [[]];
  const all = globSync('test/**/*.test.ts').sort();
  return [all.filter((file) => !alone.includes(file)), ['--concurrency', '1', ...alone.sort()]];
}

async function runAva(args: readonly string[]): Promise<TapResult> {
  const runner = spawn(
    process.execPath,
    [...process.execArgv, ...reporting, ava, '--tap', ...args],
    { stdio: ['inherit', 'pipe', 'inherit'] },
  );
  const closed = once(runner, 'close');
  const report = new TapReport((text) => {
    process.stdout.write(text);
  });
  const progress = setInterval(() => {
    process.stdout.write(`  ... ${report.progress()}\n`);
  }, PROGRESS_INTERVAL_MS);
  const hung = setTimeout(() => {
    process.stdout.write(`\nNothing was heard for ${HUNG_MS / 1000} s.\n`);
    if (runner.pid !== undefined)
      for (const line of endWorkers(runner.pid)) process.stdout.write(`  ended: ${line}\n`);
    hung.refresh();
  }, HUNG_MS);
  for await (const line of createInterface({ input: runner.stdout })) {
    hung.refresh();
    report.readLine(line);
  }
  clearTimeout(hung);
  clearInterval(progress);
  const [exitCode, signal] = (await closed) as [number | null, NodeJS.Signals | null];
  return report.finish(exitCode ?? signal ?? 'unknown');
}
