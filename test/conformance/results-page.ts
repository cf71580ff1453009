import { MESH_TEST_NAMES, MESH_TESTS, type MeshTestName } from './mesh-tests.ts';

export type Result = 'pass' | 'fail' | 'not run';

/** The page that says what came of a run. */
export function formatResults(results: ReadonlyMap<MeshTestName, Result>): string {
  const resultOf = (name: MeshTestName): Result => results.get(name) ?? 'not run';
  const passed = MESH_TEST_NAMES.filter((name) => resultOf(name) === 'pass').length;
  const rows = MESH_TEST_NAMES.map(
    (name) => `| ${name} | ${MESH_TESTS[name]} | ${resultOf(name)} |`,
  );
  return `# Conformance to the Gateway API

<!-- Written by \`npm run conformance\`; do not edit. -->

These are the mesh tests of the Gateway API's conformance suite, by their upstream names: ${passed} of ${rows.length} pass. They run in
the sandbox (\`test/conformance/\`), with routes that say the same as upstream's, in two ambient namespaces of which one has a
waypoint. Requests come from inside the pods, and an echo program on Node's own HTTP and on grpc-js answers.

Upstream compares the status, some headers and which pod has answered. Here, the path, host, method and headers that the
backend saw and the whole of \`Location\` are compared too, and no request is tried again: what was applied is in force when
the command that applied it returns. It is not a run of upstream's own program, which needs a Kubernetes API.

A test counts in a profile as upstream has it; some count in none.

| name | profile | result |
|---|---|---|
${rows.join('\n')}
`;
}
