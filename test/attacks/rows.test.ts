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
  ...range('S', 1, 16),
  ...range('T', 1, 17),
  ...range('M', 1, 5),
  ...range('A', 1, 11),
  ...range('J', 1, 5),
  ...range('C', 1, 9),
  ...range('D', 1, 3),
  ...range('R', 1, 8),
];

function range(letter: string, first: number, last: number): string[] {
  return Array.from({ length: last - first + 1 }, (_, index) => `${letter}${first + index}`);
}

/** Titles of floods are in their table, and run at every door. */
const FLOODS = 'support/h2-floods.ts';

/** In front of a title or in brackets at its end, one or several. */
const NAMED = /['"`]((?:[A-Z]\d+, )*[A-Z]\d+): |\(((?:[A-Z]\d+, )*[A-Z]\d+)\)['"`]/g;

/** Those that a waypoint has to stand for itself, whatever else stands it: at its doors, by its own tests. */
const WAYPOINT_ROWS: readonly string[] = [
  ...range('H', 1, 23),
  ...range('S', 1, 16),
  ...range('A', 1, 11),
  ...range('M', 1, 5),
  ...range('J', 1, 5),
  ...['C2', 'C5', 'C7'],
];
/** Its requests, what decides on them, and how its configuration is made. */
const WAYPOINT_TESTS = [
  'attacks/waypoint-*.test.ts',
  'waypoint/**/*.test.ts',
  'istiod-lite/{jwks,translate/policy-attacks}.test.ts',
  'mesh/model/regex.test.ts',
  FLOODS,
];

/** Rows in titles of the files that fit. */
function namedIn(patterns: readonly string[]): Set<string> {
  const folder = join(import.meta.dirname, '..');
  const named = new Set<string>();
  for (const file of globSync([...patterns], { cwd: folder }))
    for (const [, before, after] of readFileSync(join(folder, file), 'utf8').matchAll(NAMED))
      for (const row of (before ?? after ?? '').split(', ')) named.add(row);
  return named;
}

test('every row of the catalogue is named by the title of a test', (t) => {
  const named = namedIn(['**/*.test.ts', FLOODS]);
  t.deepEqual(
    ROWS.filter((row) => !named.has(row)),
    [],
  );
});

test('every row that a waypoint has to stand is named by the title of a test of waypoints', (t) => {
  const named = namedIn(WAYPOINT_TESTS);
  t.deepEqual(
    WAYPOINT_ROWS.filter((row) => !named.has(row)),
    [],
  );
});
