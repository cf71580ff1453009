import { symlinkSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { runProgram, type Ended } from '../support/run-program.ts';
import { TemporaryFolder } from '../support/temporary-folder.ts';

const wrapper = join(import.meta.dirname, '../../cli/bin/halo');

/** Runs halo where no sandbox can be found, under a PATH without the project's own folders. */
async function halo(...args: string[]): Promise<Ended> {
  using home = new TemporaryFolder();
  return await runProgram(wrapper, args, {
    env: {
      PATH: '/usr/bin:/bin',
      HOME: home.path,
      NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'],
    },
  });
}

test('halo without a command lists all of them', async (t) => {
  const { code, stdout, stderr } = await halo();
  t.is(code, 0);
  t.is(stderr, '');
  for (const verb of ['up', 'down', 'apply', 'explain', 'ztunnel', 'completion'])
    t.regex(stdout, new RegExp(`^  ${verb} `, 'm'));
  t.notRegex(stdout, /__complete/);
});

test('every command explains itself', async (t) => {
  const { stdout: list } = await halo('__complete', '--', '');
  const verbs = list
    .trim()
    .split('\n')
    .map((line) => line.split('\t')[0] ?? '');
  t.true(verbs.length > 15, list);
  for (const verb of verbs) {
    const { code, stdout } = await halo(verb, '--help');
    t.is(code, 0, verb);
    t.regex(stdout, new RegExp(`^halo ${verb}: .+\n\nUsage: halo ${verb} `), verb);
  }
});

test('halo help COMMAND prints what COMMAND --help prints', async (t) => {
  const [help, option] = await Promise.all([
    halo('help', 'rollout', 'restart'),
    halo('rollout', 'restart', '--help'),
  ]);
  t.is(help.stdout, option.stdout);
  t.regex(help.stdout, /^halo rollout restart: /);
});

test('a wrong command line ends with 2, and says on stderr how to mend it', async (t) => {
  const { code, stdout, stderr } = await halo('stauts');
  t.is(code, 2);
  t.is(stdout, '');
  t.is(stderr, 'halo: Unknown command stauts of halo; did you mean status?\nSee: halo --help\n');
});

test('a command that needs the sandbox ends with 3 when none runs', async (t) => {
  for (const args of [['get', 'pods'], ['status'], ['exec', 'a', '--', 'ls']]) {
    const { code, stderr } = await halo(
      ...args,
      ...(args[0] === 'exec' ? [] : ['--name', 'nobody']),
    );
    t.is(code, 3, args.join(' '));
    t.regex(stderr, /^halo: Cannot reach sandbox "\w+": it is not running; start it with: halo up/);
  }
});

test('a name that no sandbox can have ends with 2', async (t) => {
  const { code, stderr } = await halo('status', '--name', '../x');
  t.is(code, 2);
  t.regex(stderr, /^halo: Cannot name a sandbox/);
});

test('halo works through symbolic links, relative and absolute', async (t) => {
  using folder = new TemporaryFolder();
  mkdirSync(join(folder.path, 'bin'));
  symlinkSync(wrapper, join(folder.path, 'halo-absolute'));
  symlinkSync('../halo-absolute', join(folder.path, 'bin/halo'));
  const { code, stdout } = await runProgram(join(folder.path, 'bin/halo'), ['--version'], {
    cwd: '/',
    env: { PATH: '/usr/bin:/bin' },
  });
  t.is(code, 0);
  t.regex(stdout, /^halo \d+\.\d+\.\d+ \(Node 26\./);
});

test('halo ends quietly when its reader goes away', async (t) => {
  const { code, stderr, stdout } = await runProgram('/bin/bash', [
    '-c',
    `'${wrapper}' help | true; echo "\${PIPESTATUS[0]}"`,
  ]);
  t.is(code, 0);
  t.is(stderr, '');
  t.is(stdout, '0\n');
});
