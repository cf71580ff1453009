/**
 * Runs the conformance tests and writes docs/conformance.md from what came of them. Exits with 1 unless all have passed.
 *
 *     node test/conformance/report.ts
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { TapReport } from '../support/tap-report.ts';
import { formatResults, type Result } from './results-page.ts';
import { SUITE_TEST_NAMES } from './suite-tests.ts';

const root = join(import.meta.dirname, '..', '..');
const ava = join(root, 'node_modules', 'ava', 'entrypoints', 'cli.js');

const FILES = ['test/conformance/mesh.test.ts', 'test/conformance/gateway/gateway.test.ts'];

const runner = spawn(
  process.execPath,
  // One sandbox after the other: tests of shares and times need the machine.
  [...process.execArgv, ava, '--tap', '--concurrency=1', ...FILES],
  { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] },
);
const closed = once(runner, 'close');
const results = new Map<string, Result>();
const report = new TapReport((text) => {
  process.stdout.write(text);
});
for await (const line of createInterface({ input: runner.stdout })) {
  report.readLine(line);
  readResult(line);
}
const [exitCode] = (await closed) as [number | null];
const { passed, failed } = report.finish(exitCode ?? 'a signal');
writeFileSync(join(root, 'docs', 'conformance.md'), formatResults(results));
const missing = SUITE_TEST_NAMES.filter((name) => !results.has(name));
process.stdout.write(`${passed} passed, ${failed} failed, ${missing.length} not run\n`);
process.exitCode = failed > 0 || missing.length > 0 ? 1 : 0;

/** A title has the file's name before it; that of a failing test is followed by the assertion's message. */
function readResult(line: string): void {
  const [, not, title = ''] = /^(not )?ok \d+ - (.*)$/.exec(line) ?? [];
  const [own = ''] = (title.split(' › ').at(-1) ?? '').split(' ');
  const name = SUITE_TEST_NAMES.find((each) => each === own);
  if (name !== undefined) results.set(name, not === undefined ? 'pass' : 'fail');
}
