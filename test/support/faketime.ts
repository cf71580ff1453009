import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const LIBRARY = 'faketime/libfaketimeMT.so.1';
/** The library keeps what its file says for more than so many whole seconds. */
const CACHE_SECONDS = 1;
/** So a process has seen what was written into its file. */
export const FAKETIME_SEEN_MS = (CACHE_SECONDS + 1) * 1000;

/**
 * What a process needs in its environment for its wall clock to be moved; the file says by how much, as `+86400`.
 *
 * @throws {Error} without the library.
 */
export function faketimeEnvironment(file: string): Record<string, string> {
  return {
    LD_PRELOAD: findLibrary(),
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_CACHE_DURATION: String(CACHE_SECONDS),
    // Timers and measurements go by this one, which no administrator moves.
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
    DONT_FAKE_MONOTONIC: '1',
  };
}

function findLibrary(): string {
  const found = readdirSync('/usr/lib')
    .map((folder) => join('/usr/lib', folder, LIBRARY))
    .find((path) => existsSync(path));
  if (found === undefined) throw new Error(`no ${LIBRARY}; run: cli/preflight test`);
  return found;
}
