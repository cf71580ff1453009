import { readFileSync, writeFileSync } from 'node:fs';
import { describeError } from '../../base/errors.ts';

const LIMIT = '/proc/sys/fs/inotify/max_user_instances';
/** For everybody else on the machine. */
const RESERVE = 1024;

/**
 * Lets so many files be followed at once, each of which takes Envoy an inotify instance; Linux starts with 128 a user,
 * beyond which Envoy ends. The machine has its own limit again when it is disposed of.
 *
 * @throws {Error} when the limit is too low and may not be raised.
 */
export function raiseInotifyLimit(instances: number): Disposable {
  const before = readFileSync(LIMIT, 'utf8').trim();
  const wanted = instances + RESERVE;
  if (Number(before) >= wanted) return { [Symbol.dispose]: () => undefined };
  try {
    writeFileSync(LIMIT, String(wanted));
  } catch (cause) {
    const mend = `as root: sysctl fs.inotify.max_user_instances=${wanted}`;
    const found = `at most ${before} files can be followed (${describeError(cause)}); ${mend}`;
    throw new Error(`Cannot start that many sidecars: ${found}`, { cause });
  }
  const restore = (): void => {
    writeFileSync(LIMIT, before);
  };
  process.once('exit', restore);
  return {
    [Symbol.dispose]() {
      process.off('exit', restore);
      restore();
    },
  };
}
