import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { congestionControl } from '../../deploy/sandbox/networks.ts';
import { systemPath } from '../../mesh/runtime/command.ts';

/** What a figure depends on and does not show. */
export type Environment = Readonly<{
  cpu: string;
  cpus: number;
  memoryGiB: number;
  kernel: string;
  /** Of TCP in all that is measured. */
  congestionControl: string;
  system: string;
  node: string;
  openssl: string;
  /** Of this repository, with `+` when there were changes beside it. */
  commit: string;
  /** Of the programs that are compared with, by name. */
  versions: Readonly<Record<string, string>>;
}>;

/** @param programs by name, the command that prints the version of each. */
export function recordEnvironment(
  programs: Readonly<Record<string, readonly string[]>> = {},
): Environment {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cpus: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    congestionControl: congestionControl(),
    system: systemName(),
    node: process.version,
    openssl: process.versions.openssl,
    commit: commitName(),
    versions: Object.fromEntries(
      Object.entries(programs).map(([name, command]) => [name, versionOf(command)]),
    ),
  };
}

function systemName(): string {
  try {
    return /^PRETTY_NAME="(.*)"$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown';
  } catch {
    return 'unknown';
  }
}

function commitName(): string {
  const folder = import.meta.dirname;
  const git = (...args: string[]): string => run(['git', '-C', folder, ...args]);
  const commit = git('rev-parse', '--short', 'HEAD').trim();
  if (commit === '') return 'unknown';
  return git('status', '--porcelain', '--untracked-files=no') === '' ? commit : `${commit}+`;
}

/** nginx tells its version on standard error. */
function versionOf(command: readonly string[]): string {
  const text = run(['sh', '-c', '"$@" 2>&1', 'sh', ...command]);
  return /\d+(?:\.\d+)+/.exec(text)?.[0] ?? 'unknown';
}

function run([program = '', ...args]: readonly string[]): string {
  try {
    const env = { ...process.env, PATH: systemPath() };
    return execFileSync(program, args, { encoding: 'utf8', env, stdio: 'pipe' });
  } catch (error) {
    // Some answer and then say that they failed.
    return (error as { stdout?: string }).stdout ?? '';
  }
}
