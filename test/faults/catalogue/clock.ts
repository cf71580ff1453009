import { writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { FAKETIME_SEEN_MS, faketimeEnvironment } from '../../support/faketime.ts';
import { undoneBy, type Fault } from '../fault.ts';

const OFFSETS = [
  ['forward', '+86400'],
  ['back', '-86400'],
] as const;
export const CLOCK_PARTS = ['ztunnel-node-1', 'istiod-lite'] as const;

/** What a part needs in its environment for its clock to be moved; the file says by how much. */
export function clockEnvironment(file: string): Record<string, string> {
  writeFileSync(file, '+0\n');
  return faketimeEnvironment(file);
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
          await delay(FAKETIME_SEEN_MS);
          return undoneBy(async () => {
            writeFileSync(fileOf(part), '+0\n');
            await delay(FAKETIME_SEEN_MS);
          });
        },
      }),
    ),
  );
}
