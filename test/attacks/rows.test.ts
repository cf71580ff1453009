import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';

/*
 * The catalogue of attacks and faults that tests name in their titles, as "T11: ..." or "... (T11)":
 *   H  HTTP/2 and tunnels: floods, malformed frames, windows, authorities, injected fields
 *   T  identity, TLS and certificates
 *   M  metadata that claims to be somebody
 *   S  HTTP/1.1: requests and answers that hide others
 *   A  policy that is got round
 *   J  tokens
 *   C  configuration, control plane and local sockets
 *   D  DNS
 *   R  resources, faults and loops
 */
const ROWS: readonly string[] = [
  ...range('H', 1, 23),
  ...range('S', 1, 11),
  ...['S13', 'S14'],
  ...range('T', 1, 17),
  ...range('M', 1, 5),
  ...range('A', 1, 11),
  ...range('J', 1, 5),
  ...['C1', 'C2', 'C3', 'C4', 'C6', 'C8', 'C9'],
  ...range('D', 1, 3),
  ...range('R', 1, 8),
];

function range(letter: string, first: number, last: number): string[] {
  return Array.from({ length: last - first + 1 }, (_, index) => `${letter}${first + index}`);
}

/** In front of a title or in brackets at its end, one or several. */
const NAMED = /['"`]((?:[A-Z]\d+, )*[A-Z]\d+): |\(((?:[A-Z]\d+, )*[A-Z]\d+)\)['"`]/g;

test('every row of the catalogue is named by the title of a test', (t) => {
  const folder = join(import.meta.dirname, '..');
  const named = new Set<string>();
  for (const file of globSync('**/*.test.ts', { cwd: folder }))
    for (const [, before, after] of readFileSync(join(folder, file), 'utf8').matchAll(NAMED))
      for (const row of (before ?? after ?? '').split(', ')) named.add(row);
  t.deepEqual(
    ROWS.filter((row) => !named.has(row)),
    [],
  );
});
