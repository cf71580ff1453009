import { spawn, type SpawnOptions } from 'node:child_process';
import { buffer } from 'node:stream/consumers';

export type Ended = Readonly<{
  /** 128 + signal number is not made up: `null` when a signal ended it. */
  code: number | null;
  stdout: string;
  stderr: string;
}>;

/** Runs a program to its end. `env` is all of its environment when given. */
export async function runProgram(
  file: string,
  args: readonly string[],
  options: Pick<SpawnOptions, 'cwd' | 'env'> & { input?: string } = {},
): Promise<Ended> {
  const { input = '', ...rest } = options;
  const child = spawn(file, args, { ...rest, stdio: ['pipe', 'pipe', 'pipe'] });
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  child.on('error', reject);
  child.on('close', resolve);
  child.stdin.on('error', () => undefined); // it need not read what it is given
  child.stdin.end(input);
  const [stdout, stderr, code] = await Promise.all([
    buffer(child.stdout),
    buffer(child.stderr),
    promise,
  ]);
  return { code, stdout: stdout.toString(), stderr: stderr.toString() };
}
