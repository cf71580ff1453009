/**
 * Runs ava and says what came of it: each failing test in full as it happens, how far the run is every few seconds,
 * and `N passed, N failed` as the last line. Exits with 1 on any failure, on a run that broke off, and when no test ran.
 *
 *     node test/support/run-tests.ts [ava arguments]
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { TapReport } from './tap-report.ts';

/** Often enough to see that it moves, seldom enough to read a log of the whole run. */
const PROGRESS_INTERVAL_MS = 5_000;

const ava = join(import.meta.dirname, '../../node_modules/ava/entrypoints/cli.js');
const reporting = ['--import', join(import.meta.dirname, 'report-timeouts.ts')];
const args = [...process.execArgv, ...reporting, ava, '--tap', ...process.argv.slice(2)];
const runner = spawn(process.execPath, args, { stdio: ['inherit', 'pipe', 'inherit'] });
const closed = once(runner, 'close');

const report = new TapReport((text) => {
  process.stdout.write(text);
});
const progress = setInterval(() => {
  process.stdout.write(`  ... ${report.progress()}\n`);
}, PROGRESS_INTERVAL_MS);
for await (const line of createInterface({ input: runner.stdout })) report.readLine(line);
clearInterval(progress);

const [exitCode, signal] = (await closed) as [number | null, NodeJS.Signals | null];
const { passed, failed } = report.finish(exitCode ?? signal ?? 'unknown');
process.stdout.write(`${passed} passed, ${failed} failed\n`);
process.exitCode = failed > 0 ? 1 : 0;
