import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { MESH_TEST_NAMES, MESH_TESTS } from './mesh-tests.ts';
import { formatResults } from './results-page.ts';

/** The mesh tests of the suite at the state that the fixtures follow. */
const UPSTREAM_COUNT = 23;

const page = readFileSync(join(import.meta.dirname, '../../docs/conformance.md'), 'utf8');

test('docs/conformance.md has a row for every test of the suite, with what came of it', (t) => {
  const rows = page
    .split('\n')
    .filter((line) => line.startsWith('| Mesh'))
    .map((line) => line.split('|').map((cell) => cell.trim()));
  t.is(MESH_TEST_NAMES.length, UPSTREAM_COUNT);
  t.deepEqual(
    rows.map(([, name, profile]) => [name, profile]),
    Object.entries(MESH_TESTS),
  );
  for (const [, name, , result] of rows) t.regex(result ?? '', /^(pass|fail)$/, name);
});

test('docs/conformance.md is what the command writes', (t) => {
  const results = new Map(
    MESH_TEST_NAMES.map(
      (name) =>
        [
          name,
          page.includes(`| ${name} | ${MESH_TESTS[name]} | pass |`) ? 'pass' : 'fail',
        ] as const,
    ),
  );
  t.is(page, formatResults(results));
});
