import { spawn, type ChildProcess } from 'node:child_process';
import { dirname } from 'node:path';
import { systemPath } from '../../mesh/runtime/command.ts';
import type { LogFile } from './log-file.ts';

export type ProcessEnd = Readonly<{ code: number; signal?: string; error?: string }>;

/** Where a container's process runs: the pod's network and names, and files of its own in place of the machine's. */
export type ContainerPlace = Readonly<{
  netns: string;
  hostname: string;
  resolvConf: string;
  hosts: string;
}>;

export type ContainerProcess = Readonly<{
  pid: number;
  child: ChildProcess;
  exited: Promise<ProcessEnd>;
  /** To the process and its group. */
  kill(signal: NodeJS.Signals): void;
}>;

/**
 * The files over which a container's own are mounted. Arguments: host name, resolver file, hosts file, folder, then
 * the command. `exec` all the way, so that the process we started is the container's.
 */
const ENTER = `echo "$1" > /proc/sys/kernel/hostname
[ ! -e /etc/resolv.conf ] || mount --bind "$2" /etc/resolv.conf || exit 126
[ ! -e /etc/hosts ] || mount --bind "$3" /etc/hosts || exit 126
cd "$4" || exit 126
shift 4
exec "$@"`;

/** What every process in the sandbox finds in its environment, before its own settings. */
export function baseEnvironment(extra: Readonly<Record<string, string>>): Record<string, string> {
  return {
    PATH: `${dirname(process.execPath)}:${systemPath()}`,
    HOME: process.env['HOME'] ?? '/',
    LANG: 'C.UTF-8',
    ...extra,
  };
}

/**
 * The command that runs another one in a place; it replaces itself, so their process is one. Names of namespaces that
 * come and go are seen there too (slave), so that no place keeps the namespace of a pod that has gone.
 */
export function enterPlace(
  place: ContainerPlace,
  folder: string,
  command: readonly string[],
): string[] {
  const { netns, hostname, resolvConf, hosts } = place;
  const inside = ['sh', '-c', ENTER, 'sh', hostname, resolvConf, hosts, folder, ...command];
  const isolate = ['unshare', '--mount', '--uts', '--propagation', 'slave'];
  return ['nsenter', `--net=${netns}`, ...isolate, ...inside];
}

/** Starts a process in a place; never throws: a failed start is an end with its error. */
export function startContainer(
  place: ContainerPlace,
  folder: string,
  command: readonly string[],
  environment: ReadonlyMap<string, string>,
  log: LogFile,
): ContainerProcess {
  return startProcess(enterPlace(place, folder, command), environment, log);
}

/** Starts a process at the head of a group of its own, its output in the log. */
export function startProcess(
  command: readonly string[],
  environment: ReadonlyMap<string, string>,
  log: LogFile,
): ContainerProcess {
  const [program = '', ...args] = command;
  const child = spawn(program, args, {
    env: Object.fromEntries(environment),
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const exited = new Promise<ProcessEnd>((resolve) => {
    child.on('error', (error) => {
      resolve({ code: 128, error: error.message });
    });
    // Not 'close': a child of the process may hold the pipes open long after it.
    child.on('exit', (code, signal) => {
      resolve(endOf(code, signal));
    });
  });
  child.stdout.on('data', (chunk: Buffer) => {
    log.append(chunk);
  });
  child.stderr.on('data', (chunk: Buffer) => {
    log.append(chunk);
  });
  return {
    pid: child.pid ?? 0,
    child,
    exited,
    kill: (signal) => {
      killGroup(child.pid, signal);
    },
  };
}

/** As a shell counts: 128 + the signal's number where one ended it. */
export function endOf(code: number | null, signal: NodeJS.Signals | null): ProcessEnd {
  if (signal === null) return { code: code ?? 128 };
  return { code: 128 + (SIGNAL_NUMBERS.get(signal) ?? 0), signal };
}

export function describeEnd(end: ProcessEnd): string {
  if (end.error !== undefined) return `could not start: ${end.error}`;
  return end.signal === undefined ? `exit code ${end.code}` : `ended by ${end.signal}`;
}

const SIGNAL_NUMBERS = new Map<string, number>([
  ['SIGHUP', 1],
  ['SIGINT', 2],
  ['SIGQUIT', 3],
  ['SIGABRT', 6],
  ['SIGKILL', 9],
  ['SIGSEGV', 11],
  ['SIGPIPE', 13],
  ['SIGTERM', 15],
]);

function killGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // Ended already.
  }
}
