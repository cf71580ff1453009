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
import { MESH_TEST_NAMES, type MeshTestName } from './mesh-tests.ts';
import { formatResults, type Result } from './results-page.ts';

const root = join(import.meta.dirname, '..', '..');
const ava = join(root, 'node_modules', 'ava', 'entrypoints', 'cli.js');

const runner = spawn(
  process.execPath,
  [...process.execArgv, ava, '--tap', 'test/conformance/mesh.test.ts'],
  { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] },
);
const closed = once(runner, 'close');
const results = new Map<MeshTestName, Result>();
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
const missing = MESH_TEST_NAMES.filter((name) => !results.has(name));
process.stdout.write(`${passed} passed, ${failed} failed, ${missing.length} not run\n`);
process.exitCode = failed > 0 || missing.length > 0 ? 1 : 0;

/** A failing test's title is followed by the assertion's message. */
function readResult(line: string): void {
  const [, not, title = ''] = /^(not )?ok \d+ - (.*)$/.exec(line) ?? [];
  const name = MESH_TEST_NAMES.find((each) => title === each || title.startsWith(`${each} `));
  if (name !== undefined) results.set(name, not === undefined ? 'pass' : 'fail');
}
