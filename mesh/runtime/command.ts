import { spawn } from 'node:child_process';
import { MeshError } from '../../base/errors.ts';

/** Where the system's administration programs are, which an ordinary user's PATH may lack. */
const ADMINISTRATION: readonly string[] = ['/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/**
 * A PATH for the system's programs. npm puts the folders of installed packages first, and one of these packages has an
 * `nft` of its own, which does something else and says that it went well.
 */
export function systemPath(path: string = process.env['PATH'] ?? ''): string {
  const kept = path
    .split(':')
    .filter((folder) => folder !== '' && !folder.includes('node_modules'));
  return [...new Set([...kept, ...ADMINISTRATION])].join(':');
}

/** Enough for any rule set or listing of ours; a program that says more is broken. */
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;

export type CommandOptions = Readonly<{ input?: string; signal?: AbortSignal }>;

/**
 * Runs a program to its end and gives its standard output.
 *
 * @throws {MeshError} ERR_COMMAND with the last lines of its error output when it fails or cannot start.
 */
export async function runCommand(
  command: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const [program = '', ...args] = command;
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const child = spawn(program, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    signal: options.signal,
    env: { ...process.env, PATH: systemPath() },
  });
  let output = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    if (output.length < MAX_OUTPUT_BYTES) output += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-2000);
  });
  child.stdin.on('error', () => undefined); // ended before it read its input: its exit tells
  child.on('error', (cause) => {
    const message = `Cannot run ${program}: ${cause.message}`;
    reject(new MeshError('ERR_COMMAND', 'local', message, { cause }));
  });
  child.on('close', (code, signal) => {
    if (code === 0) {
      resolve(output);
      return;
    }
    const shown = command.join(' ').slice(0, 300);
    const end = signal ?? `exit code ${code ?? 'none'}`;
    const message = `Cannot run '${shown}': ${end}: ${errors.trim()}`;
    reject(new MeshError('ERR_COMMAND', 'local', message));
  });
  child.stdin.end(options.input ?? '');
  return promise;
}

/** The command, run in a named network namespace. */
export function inNamespace(netns: string, command: readonly string[]): string[] {
  return ['nsenter', `--net=${netns}`, ...command];
}
