import { parseArgs } from 'node:util';
import { describeError } from '../../../base/errors.ts';
import { RECOVERY_MS } from '../round.ts';
import { runSoak } from './soak.ts';

/*
 * npm run soak -- [--minutes N] [--seed N]
 */
const USAGE = `usage: npm run soak -- [--minutes N] [--seed N]
Loads a mesh of two nodes, changes it all the time and lets a fault happen every ten seconds.
  --minutes N   how long, 60 unless told otherwise
  --seed N      the order of faults, as an earlier run has printed it; by chance unless told otherwise
Fails on a wrong byte, a wrong pod or identity, an error without a fault, a recovery of more than a second, growth, or a
blocked event loop. Ctrl-C ends it in order. See docs/faults.md.
`;
/** The exit codes of the `halo` command: 1 failed, 2 not understood. */
const [OK, FAILED, USAGE_ERROR] = [0, 1, 2];
const DEFAULT_MINUTES = 60;
const MAX_SEED = 2 ** 32;

const abort = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    if (abort.signal.aborted) process.exit(FAILED); // asked twice
    process.stderr.write('soak: ends after this fault\n');
    abort.abort();
  });
process.exitCode = await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<number> {
  let minutes: number;
  let seed: number;
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        help: { type: 'boolean', short: 'h', default: false },
        minutes: { type: 'string', default: String(DEFAULT_MINUTES) },
        seed: { type: 'string', default: String(Math.floor(Math.random() * MAX_SEED)) },
      },
    });
    if (values.help) {
      process.stdout.write(USAGE);
      return OK;
    }
    [minutes, seed] = [Number(values.minutes), Number(values.seed)];
    if (!(minutes > 0) || !Number.isInteger(seed)) throw new Error('not a number');
  } catch (error) {
    process.stderr.write(`soak: ${describeError(error)}\n${USAGE}`);
    return USAGE_ERROR;
  }
  const began = performance.now();
  const say = (line: string): void => {
    const seconds = Math.round((performance.now() - began) / 1000);
    process.stdout.write(`${String(seconds).padStart(5)} s  ${line}\n`);
  };
  try {
    const { failures, rounds, complete, explained } = await runSoak({
      ...{ minutes, seed, say, waypoints: true, recoveryMs: RECOVERY_MS },
      signal: abort.signal,
    });
    for (const failure of failures) say(`failed: ${failure}`);
    say(`${rounds} faults, ${complete} connections complete, ${explained} broken by faults`);
    return failures.length > 0 ? FAILED : OK;
  } catch (error) {
    process.stderr.write(`soak: ${describeError(error)}\n`);
    return FAILED;
  }
}
