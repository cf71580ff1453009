import { describeError, MeshError } from '../base/errors.ts';
import { EXIT } from './command.ts';
import { halo } from './commands.ts';
import { formatHelp } from './help.ts';
import { parseCommandLine } from './parse.ts';
import { paint, printable, processTerminal, type Terminal } from './terminal.ts';

/** Errors that scripts tell apart by the exit code; every other one is EXIT.failed. */
const EXIT_OF_ERROR: ReadonlyMap<string, number> = new Map([
  ['ERR_USAGE', EXIT.usage],
  ['ERR_SANDBOX_NAME', EXIT.usage],
  ['ERR_NOT_RUNNING', EXIT.notRunning],
  ['ERR_TIMED_OUT', EXIT.timedOut],
  ['ERR_SANDBOX_REQUIREMENTS', EXIT.unsuitable],
]);

/** 128 + SIGINT, as a shell has it. */
const EXIT_INTERRUPTED = 130;

const interrupted = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const)
  process.once(name, () => {
    interrupted.abort();
  });

const terminal = processTerminal(interrupted.signal);
process.exitCode = await runHalo(terminal, process.argv.slice(2));

/** Runs one command line to its exit code; never rejects. */
async function runHalo(to: Terminal, argv: readonly string[]): Promise<number> {
  try {
    if (argv[0] === '--version') return await runHalo(to, ['version', ...argv.slice(1)]);
    const invocation = parseCommandLine(halo, argv);
    if (invocation.kind === 'help') {
      to.out(formatHelp(invocation.command, invocation.path));
      return EXIT.ok;
    }
    const { verb, options, arguments: words } = invocation;
    return await verb.run({ options, arguments: words, terminal: to });
  } catch (error) {
    if (to.signal.aborted) return EXIT_INTERRUPTED;
    const known = error instanceof MeshError;
    const text = known || !(error instanceof Error) ? describeError(error) : error.stack;
    to.note(`${paint(to, 'bad', 'halo:')} ${printable(text ?? String(error))}\n`);
    return (known ? EXIT_OF_ERROR.get(error.code) : undefined) ?? EXIT.failed;
  }
}
