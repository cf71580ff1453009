import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { completeWords, type LiveNames } from '../../cli/complete.ts';
import { halo } from '../../cli/commands.ts';
import { runProgram } from '../support/run-program.ts';
import { TemporaryFolder } from '../support/temporary-folder.ts';

const wrapper = join(import.meta.dirname, '../../cli/bin/halo');

/** A folder with `halo` in it and files to complete, as a shell's working folder and PATH. */
function shellFolder(): TemporaryFolder {
  const folder = new TemporaryFolder();
  symlinkSync(wrapper, join(folder.path, 'halo'));
  writeFileSync(join(folder.path, 'app one.yaml'), '');
  mkdirSync(join(folder.path, 'apps'));
  return folder;
}

async function inShell(shell: string, args: string[], folder: TemporaryFolder): Promise<string> {
  const { stdout, stderr } = await runProgram(`/usr/bin/${shell}`, args, {
    cwd: folder.path,
    env: { PATH: `${folder.path}:/usr/bin:/bin`, HOME: folder.path, TERM: 'dumb' },
  });
  if (stderr !== '') throw new Error(stderr);
  return stdout;
}

const names: LiveNames = (what, sandbox, words) =>
  Promise.resolve([{ word: [what, sandbox, ...words].join(','), summary: '' }]);

const completes = test.macro({
  async exec(
    t,
    words: readonly string[],
    expected: readonly string[],
    paths?: 'files' | 'folders',
  ) {
    const candidates = await completeWords(halo, words, names);
    t.deepEqual(
      candidates.words.map(({ word }) => word),
      expected,
    );
    t.is(candidates.paths, paths);
  },
  title: (_, words: readonly string[]) => `completeWords() completes "halo ${words.join(' ')}"`,
});

test(completes, ['po'], ['port-forward']);
test(completes, ['rollout', ''], ['restart']);
test(completes, ['get', '--al'], ['--all-namespaces']);
test(completes, ['get', '-o', ''], ['json', 'yaml']);
test(completes, ['get', '-o', 'y'], ['yaml']);
test(completes, ['get', '--output=j'], ['--output=json']);
test(completes, ['get', ''], ['kinds,']);
test(completes, ['get', 'pods', ''], ['objects,,pods']);
test(completes, ['get', '--name', 'mine', 'pods', ''], ['objects,mine,pods']);
test(completes, ['get', '--name=mine', '-n', ''], ['namespaces,mine']);
test(completes, ['apply', '-f', ''], [], 'files');
test(completes, ['exec', ''], ['workloads,']);
test(completes, ['exec', 'web', '--', ''], []);
test(completes, ['exec', 'web', '--', 'ls', '-'], []);
test(completes, ['completion', 'z'], ['zsh']);
test(completes, ['nonsense', ''], []);
test(completes, ['help', 'rol'], ['rollout']);
test(completes, ['help', 'rollout', ''], ['restart']);
test(completes, ['help', 'up', ''], []);
test(completes, ['rollout', 'restart', ''], ['restartable,']);
test(completes, ['rollout', 'restart', 'ztunnel', ''], ['nodes,,ztunnel']);
test(completes, ['ztunnel', 'workloads', '--node', ''], ['nodes,']);
test(completes, ['logs', '--part', ''], ['parts,']);
test(completes, ['explain', ''], ['workloads,']);
test(completes, ['port-forward', ''], ['targets,']);

test('bash completes verbs, options, values and files', async (t) => {
  using folder = shellFolder();
  const script = `
    source <(halo completion bash)
    complete_line() {
      COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
      compopt() { :; }
      _halo
      printf '%s|' "\${COMPREPLY[@]}"; echo
    }
    complete_line halo port
    complete_line halo get --outp
    complete_line halo get --output = j
    complete_line halo apply -f app
  `;
  t.deepEqual((await inShell('bash', ['-c', script], folder)).split('\n'), [
    'port-forward|',
    '--output|',
    'json|',
    'app one.yaml|apps|',
    '',
  ]);
});

test('zsh completes verbs, options and values, and asks for files', async (t) => {
  using folder = shellFolder();
  // The line editor is not there in a script, so its functions say what they were given.
  const script = `
    compdef() { :; }
    _describe() { print -r -- "\${(P)2}"; }
    _files() { print -r -- "files $*"; }
    source <(halo completion zsh)
    complete_line() { words=("$@"); CURRENT=$#; _halo; }
    complete_line halo port
    complete_line halo get -o y
    complete_line halo apply -f ''
  `;
  t.deepEqual((await inShell('zsh', ['-f', '-c', script], folder)).split('\n'), [
    'port-forward:Bring a port of a Service or pod to this host',
    'yaml:',
    'files ',
    '',
  ]);
});

test('fish completes verbs, options, values and files', async (t) => {
  using folder = shellFolder();
  const script = `
    halo completion fish | source
    complete -C 'halo port'
    complete -C 'halo get -o '
    complete -C 'halo apply -f app'
  `;
  t.deepEqual((await inShell('fish', ['--no-config', '-c', script], folder)).split('\n'), [
    'port-forward\tBring a port of a Service or pod to this host',
    'json',
    'yaml',
    'app one.yaml',
    'apps/',
    '',
  ]);
});
