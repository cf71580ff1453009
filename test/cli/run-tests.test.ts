import { symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { runProgram, type Ended } from '../support/run-program.ts';
import { TemporaryFolder } from '../support/temporary-folder.ts';

const root = join(import.meta.dirname, '../..');
const runner = join(root, 'test/support/run-tests.ts');

/** A busy, slow machine was seen to take 12 s until the first test of a project ran. */
const AVA_TIMEOUT = '20s';
const HUNG_MS = 30_000;

/** Runs ava, through our runner, on one test file in a project of its own. */
async function runTests(...lines: string[]): Promise<Ended> {
  return await runTestsWith({}, ...lines);
}

async function runTestsWith(env: NodeJS.ProcessEnv, ...lines: string[]): Promise<Ended> {
  using project = new TemporaryFolder();
  symlinkSync(join(root, 'node_modules'), join(project.path, 'node_modules'));
  writeFileSync(
    join(project.path, 'package.json'),
    JSON.stringify({ type: 'module', ava: { workerThreads: false, timeout: AVA_TIMEOUT } }),
  );
  writeFileSync(join(project.path, 'test.js'), ["import test from 'ava';", ...lines].join('\n'));
  return await runProgram(process.execPath, [runner], {
    cwd: project.path,
    env: { ...process.env, ...env },
  });
}

function lastLine(ended: Ended): string | undefined {
  return ended.stdout.trimEnd().split('\n').at(-1);
}

test('the runner counts tests that pass', async (t) => {
  const ended = await runTests("test('a', (t) => t.pass());", "test('b', (t) => t.pass());");
  t.is(lastLine(ended), '2 passed, 0 failed');
  t.is(ended.code, 0);
});

test('the runner prints a failing test in full, counts it, and fails', async (t) => {
  const ended = await runTests(
    "test('a', (t) => t.pass());",
    "test('b is one', (t) => t.is(2, 1));",
  );
  t.regex(ended.stdout, /^FAILED b is one$/m);
  t.regex(ended.stdout, /Difference/);
  t.is(lastLine(ended), '1 passed, 1 failed');
  t.is(ended.code, 1);
});

test('the runner fails when no test ran', async (t) => {
  const ended = await runTests();
  t.is(lastLine(ended), '0 passed, 1 failed');
  t.is(ended.code, 1);
});

test('the runner counts a test file that ends early as a failure', async (t) => {
  const ended = await runTests("test('a', (t) => { t.pass(); process.exit(0); });");
  t.regex(lastLine(ended) ?? '', /^\d passed, [1-9] failed$/);
  t.is(ended.code, 1);
});

test('the runner counts a rejection that nobody handled as a failure', async (t) => {
  const ended = await runTests(
    "test('a', async (t) => { Promise.reject(new Error('left alone')); await null; t.pass(); });",
  );
  t.regex(ended.stdout, /left alone/);
  t.is(ended.code, 1);
});

test('the runner names the tests that hang', async (t) => {
  const ended = await runTests(
    "test('a', (t) => t.pass());",
    "test('b hangs', async (t) => { await new Promise((end) => setTimeout(end, 120_000)); t.pass(); });",
  );
  t.regex(ended.stdout, /^FAILED b hangs$/m);
  t.is(lastLine(ended), '1 passed, 1 failed');
  t.is(ended.code, 1);
});

test('the runner tells all of a failure, also behind an empty line', async (t) => {
  const ended = await runTests(
    "test('a', (t) => t.pass());",
    "test('b', (t) => t.fail('one\\n\\ntwo of the text'));",
  );
  t.regex(ended.stdout, /^ +two of the text$/m);
  t.is(lastLine(ended), '1 passed, 1 failed');
});

test('the runner ends by force what hears no signal, and names the test', async (t) => {
  const ended = await runTestsWith(
    { HALO_TEST_HUNG_MS: String(HUNG_MS) },
    "test('a', (t) => t.pass());",
    "test('b', () => { process.on('SIGTERM', () => undefined); for (;;); });",
  );
  t.regex(ended.stdout, /^ {2}ended: \d+ R \(running\).* \S*ava\/lib\/worker\//m);
  t.regex(ended.stdout, /^FAILED b$/m);
  t.is(ended.code, 1);
});

test('the runner says which tests were skipped or left to do', async (t) => {
  const ended = await runTests(
    "test('a', (t) => t.pass());",
    "test.skip('b', (t) => t.pass());",
    "test.todo('c');",
  );
  t.regex(ended.stdout, /^Not run: (b \(skip\); c \(todo\)|c \(todo\); b \(skip\))$/m);
  t.is(lastLine(ended), '1 passed, 0 failed');
});
