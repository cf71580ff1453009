import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { undoneBy, type Fault } from '../fault.ts';

const LIBRARY = 'faketime/libfaketimeMT.so.1';
/** The library keeps what its file says for more than so many whole seconds. */
const CACHE_SECONDS = 1;
/** So the process has seen what was written. */
const SEEN_MS = (CACHE_SECONDS + 1) * 1000;
const OFFSETS = [
  ['forward', '+86400'],
  ['back', '-86400'],
] as const;
export const CLOCK_PARTS = ['ztunnel-node-1', 'istiod-lite'] as const;

/** What a part needs in its environment for its clock to be moved; the file says by how much. */
export function clockEnvironment(file: string): Record<string, string> {
  writeFileSync(file, '+0\n');
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
  const places = readdirSync('/usr/lib')
    .map((folder) => join('/usr/lib', folder, LIBRARY))
    .filter((path) => existsSync(path));
  const [first] = places;
  if (first === undefined) throw new Error(`no ${LIBRARY}: install the Debian package faketime`);
  return first;
}

/** @param fileOf where the clock of a part is written. */
export function clockFaults(fileOf: (part: string) => string): Fault[] {
  return CLOCK_PARTS.flatMap((part) =>
    OFFSETS.map(
      ([direction, offset]): Fault => ({
        name: `the clock of ${part} is a day ${direction}`,
        class: 'clock moved by a day',
        spares: {},
        holdMs: 500,
        begin: async () => {
          writeFileSync(fileOf(part), `${offset}\n`);
          await delay(SEEN_MS);
          return undoneBy(async () => {
            writeFileSync(fileOf(part), '+0\n');
            await delay(SEEN_MS);
          });
        },
      }),
    ),
  );
}
