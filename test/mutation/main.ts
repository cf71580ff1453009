/**
 * Changes the code that decides about identities and access in one small way after the other, and sees whether its
 * tests notice: `npm run mutate`. It takes minutes, so continuous integration leaves it out.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { TemporaryFolder } from '../support/temporary-folder.ts';
import { SUBJECTS, type Subject } from './subjects.ts';

const HELP = `usage: npm run mutate [-- SUBJECT...]

Mutates the sources of each subject and runs its tests against every mutant. Fails when fewer than 80 % are noticed.
The mutants that nobody noticed are listed; a process per mutant makes it a minute or several for each subject.

subjects (all without one):
${[...SUBJECTS].map(([name, { sources }]) => `  ${name.padEnd(15)}${sources.join(', ')}`).join('\n')}
`;

/** The part of the mutants, in percent, that the tests must notice. */
const MUST_NOTICE = 80;

const root = join(import.meta.dirname, '../..');
const modules = join(root, 'node_modules');

const { values, positionals } = parseArgs({
  options: { help: { type: 'boolean', short: 'h' } },
  allowPositionals: true,
});
const unknown = positionals.filter((name) => !SUBJECTS.has(name));
if (values.help === true) process.stdout.write(HELP);
else if (unknown.length > 0) {
  process.stderr.write(`Cannot mutate ${unknown.join(', ')}: no such subject\n\n${HELP}`);
  process.exitCode = 2;
} else {
  for (const [name, subject] of SUBJECTS)
    if (positionals.length === 0 || positionals.includes(name)) {
      process.stdout.write(`== ${name}\n`);
      if (!(await noticesEnough(subject))) process.exitCode = 1;
    }
}

async function noticesEnough({ sources, tests }: Subject): Promise<boolean> {
  using folder = new TemporaryFolder();
  const ava = [process.execPath, ...process.execArgv, join(modules, 'ava/entrypoints/cli.js')];
  const configuration = {
    mutate: sources,
    testRunner: 'command',
    commandRunner: { command: [...ava, '--fail-fast', ...tests].join(' ') },
    reporters: ['clear-text'],
    clearTextReporter: { logTests: false, allowColor: false },
    // Mutants are no well-typed programs; Node strips the types without looking.
    disableTypeChecks: `{${sources.join(',')},}`,
    plugins: [],
    checkers: [],
    thresholds: { high: 100, low: MUST_NOTICE, break: MUST_NOTICE },
    tempDirName: '.stryker-tmp',
  };
  const file = join(folder.path, 'stryker.json');
  writeFileSync(file, JSON.stringify(configuration));
  const stryker = join(modules, '@stryker-mutator/core/bin/stryker.js');
  const run = spawn(process.execPath, [stryker, 'run', file], { cwd: root, stdio: 'inherit' });
  const [code] = (await once(run, 'exit')) as [number | null];
  return code === 0;
}
