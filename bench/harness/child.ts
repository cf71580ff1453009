import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { systemPath } from '../../mesh/runtime/command.ts';

/** From a request to end until the end is forced. */
const STOP_GRACE_MS = 3000;

export type Child = ChildProcessByStdio<Writable, Readable, null>;

const running = new Set<Child>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGTERM');
});

/** Starts a process that ends with this one at the latest; what it says on standard error is shown. */
export function startChild(
  command: readonly string[],
  options: Readonly<{ environment?: Readonly<Record<string, string>> }> = {},
): Child {
  const [program = '', ...args] = command;
  const child = spawn(program, args, {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, PATH: systemPath(), ...options.environment },
  });
  running.add(child);
  child.stdin.on('error', () => undefined); // its end says the same
  child.on('error', () => running.delete(child));
  child.on('exit', () => running.delete(child));
  return child;
}

/** Asks it to end, then makes it; resolves when it has ended. */
export async function stopChild(child: Child): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const force = setTimeout(() => child.kill('SIGKILL'), STOP_GRACE_MS);
  await ended;
  clearTimeout(force);
}

/** Runs a command to its end and gives what it printed. @throws {Error} when it fails. */
export async function runChild(
  command: readonly string[],
  options: Parameters<typeof startChild>[1] = {},
): Promise<string> {
  const child = startChild(command, options);
  child.stdin.end();
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  if (code === 0) return output;
  throw new Error(`Cannot run '${command.join(' ')}': ${signal ?? `exit code ${code ?? 'none'}`}`);
}
