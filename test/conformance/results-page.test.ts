import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { GATEWAY_TEST_NAMES } from './gateway/gateway-tests.ts';
import { MESH_TEST_NAMES } from './mesh-tests.ts';
import { formatResults } from './results-page.ts';
import { NOT_APPLICABLE, SUITE_TEST_NAMES, SUITE_TESTS, UPSTREAM_TESTS } from './suite-tests.ts';

/** The mesh tests of the suite at the state that the fixtures follow. */
const UPSTREAM_MESH_TESTS = 23;

const page = readFileSync(join(import.meta.dirname, '../../docs/conformance.md'), 'utf8');

test('docs/conformance.md has a row for every test of the suite that is here, with what came of it', (t) => {
  const rows = page
    .split('\n')
    .filter((line) => /^\| [A-Z][A-Za-z0-9]+ \|/.test(line))
    .map((line) => line.split('|').map((cell) => cell.trim()));
  t.is(MESH_TEST_NAMES.length, UPSTREAM_MESH_TESTS);
  t.is(GATEWAY_TEST_NAMES.length, UPSTREAM_TESTS - UPSTREAM_MESH_TESTS - NOT_APPLICABLE.length);
  t.deepEqual(
    rows.map(([, name, profile]) => [name, profile]),
    Object.entries(SUITE_TESTS),
  );
  for (const [, name, , result] of rows) t.regex(result ?? '', /^(pass|fail)$/, name);
});

test('docs/conformance.md is what the command writes', (t) => {
  const results = new Map(
    SUITE_TEST_NAMES.map(
      (name) =>
        [
          name,
          page.includes(`| ${name} | ${SUITE_TESTS[name] ?? ''} | pass |`) ? 'pass' : 'fail',
        ] as const,
    ),
  );
  t.is(page, formatResults(results));
});
