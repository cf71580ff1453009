import { NOT_APPLICABLE, SUITE_TEST_NAMES, SUITE_TESTS, UPSTREAM_TESTS } from './suite-tests.ts';

export type Result = 'pass' | 'fail' | 'not run';

/** The page that says what came of a run. */
export function formatResults(results: ReadonlyMap<string, Result>): string {
  const resultOf = (name: string): Result => results.get(name) ?? 'not run';
  const passed = SUITE_TEST_NAMES.filter((name) => resultOf(name) === 'pass').length;
  const rows = SUITE_TEST_NAMES.map(
    (name) => `| ${name} | ${SUITE_TESTS[name] ?? ''} | ${resultOf(name)} |`,
  );
  return `# Conformance to the Gateway API

<!-- Written by \`npm run conformance\`; do not edit. -->

These are tests of the Gateway API's conformance suite, by their upstream names: ${passed} of ${rows.length} pass. Upstream has
${UPSTREAM_TESTS}; those that are not in the table are run upstream only where a feature is missing that is here:
${NOT_APPLICABLE.join(' and ')}
(TLS of a TLSRoute that ends at the listener, also beside listeners that pass it on).

They run in sandboxes (\`test/conformance/\`), with routes that say the same as upstream's. Requests of the mesh's tests come
from inside the pods of two ambient namespaces, of which one has a waypoint; those of the gateways' tests come from outside
of the mesh, and the gateways' backends are in it. An echo program on Node's own HTTP and on grpc-js answers.

Upstream compares the status, some headers and which pod has answered. Here, the path, host, method and headers that the
backend saw and the whole of \`Location\` are compared too, and no request is tried again: what was applied is in force when
the command that applied it returns. It is not a run of upstream's own program, which needs a Kubernetes API.

A test counts in a profile as upstream has it; some count in none.

| name | profile | result |
|---|---|---|
${rows.join('\n')}
`;
}
