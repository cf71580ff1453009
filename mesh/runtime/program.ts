import { flushCompileCache } from 'node:module';
import { describeError } from '../../base/errors.ts';
import type { Env } from './env.ts';
import { openLog, type Log, type LogLevels } from './log.ts';
import type { LogFormat } from './log-line.ts';

/** What a program runs with. */
export type ProgramContext<Config> = Readonly<{
  config: Config;
  log: Log;
  /** Whatever start() opens goes in here; the end of the program undoes it in reverse order. */
  stack: AsyncDisposableStack;
  /** Aborts when the program is asked to end. */
  stopping: AbortSignal;
  /** Asks the program to end, as SIGTERM does. */
  stop(reason: string): void;
}>;

export type Program<Config> = Readonly<{
  name: string;
  /** One sentence for `--help`. */
  summary: string;
  /** The settings, as describeSettings() lists them. */
  settingsHelp: string;
  /** @throws {MeshError} with a message for a person. */
  readConfig(env: Env): Config;
  /** Starts all parts; once it settles the program runs until it is asked to end. */
  start(context: ProgramContext<Config>): Promise<void>;
}>;

export type LogConfig = Readonly<{ logFormat: LogFormat; logLevels: LogLevels }>;

/**
 * What a thread has compiled is written into the compile cache then. Node itself does so only at its end, so that the
 * process after one that was killed would compile everything once more, while clients wait. Blocks for some 20 ms the
 * first time, for nothing once the files are there.
 */
const KEEP_COMPILED_AFTER_MS = 2_000;
/** Exit codes: 64 and 78 as sysexits.h has EX_USAGE and EX_CONFIG. */
export const EXIT = { ok: 0, failed: 1, usage: 64, config: 78 } as const;

/**
 * Runs a program from its arguments to the end of its process. SIGTERM and SIGINT end it in order, a second signal
 * at once. An exception that nobody caught ends it with exit code 1, because what it left behind is unknown.
 */
export async function runProgram<Config extends LogConfig>(
  program: Program<Config>,
  args: readonly string[] = process.argv.slice(2),
  env: Env = process.env,
): Promise<void> {
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(helpText(program));
    return;
  }
  const [unknown] = args;
  if (unknown !== undefined) {
    const hint = 'settings come from the environment, --help lists them';
    const found = `${program.name}: unknown argument ${JSON.stringify(unknown)}`;
    exitWith(EXIT.usage, `${found}; ${hint}`);
    return;
  }
  let config: Config;
  try {
    config = program.readConfig(env);
  } catch (error) {
    exitWith(EXIT.config, `${program.name}: ${describeError(error)}`);
    return;
  }
  await runToEnd(program, config);
}

async function runToEnd<Config extends LogConfig>(
  program: Program<Config>,
  config: Config,
): Promise<void> {
  const log = openLog({ format: config.logFormat, levels: config.logLevels });
  const logger = log.scope(program.name);
  const stopping = new AbortController();
  const stop = (reason: string): void => {
    if (stopping.signal.aborted) return;
    logger.info('stopping', { reason });
    stopping.abort(new Error(reason));
  };
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.on(signal, () => {
      if (stopping.signal.aborted) process.exit(EXIT.failed);
      stop(signal);
    });
  for (const event of ['uncaughtException', 'unhandledRejection'] as const)
    process.on(event, (error: unknown) => {
      logger.error('ending after an error that nobody handled', { error: describeStack(error) });
      process.exit(EXIT.failed);
    });
  const stack = new AsyncDisposableStack();
  try {
    await program.start({ config, log, stack, stopping: stopping.signal, stop });
    setTimeout(flushCompileCache, KEEP_COMPILED_AFTER_MS).unref();
    await aborted(stopping.signal);
  } catch (error) {
    process.exitCode = EXIT.failed;
    // A start that was given up because the program was asked to end is an ordinary end.
    if (stopping.signal.aborted) process.exitCode = EXIT.ok;
    else logger.error('cannot start', { error: describeError(error) });
  }
  try {
    await stack.disposeAsync();
    logger.info('stopped');
  } catch (error) {
    logger.error('cannot stop in order', { error: describeError(error) });
    process.exitCode = EXIT.failed;
  }
  // A handle that somebody forgot must not keep the process, nor an empty loop change the code.
  process.exit();
}

function helpText(
  program: Readonly<{ name: string; summary: string; settingsHelp: string }>,
): string {
  const usage = `Usage: ${program.name} [--help]`;
  return `${usage}\n\n${program.summary}\n\nEnvironment:\n${program.settingsHelp}`;
}

function exitWith(code: number, message: string): void {
  process.stderr.write(`${message}\n`);
  process.exitCode = code;
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  // An abort signal alone does not keep the loop alive; a program without any handle would end silently.
  const alive = setInterval(() => undefined, 2 ** 30);
  await new Promise((resolve) => {
    signal.addEventListener('abort', resolve, { once: true });
  });
  clearInterval(alive);
}

function describeStack(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
