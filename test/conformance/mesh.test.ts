/*
 * The mesh tests of the Gateway API's conformance suite, by their upstream names. Upstream compares the status, some
 * headers and which pod has answered; here, what the backend saw (path, host, method, headers) and Location count too,
 * and no request is tried again: what was applied is in force.
 */
import test from 'ava';
import { basic } from './cases/basic.ts';
import { headers } from './cases/headers.ts';
import { matching } from './cases/matching.ts';
import { parents } from './cases/parents.ts';
import { paths } from './cases/paths.ts';
import type { Runs } from './cases/run.ts';
import { weights } from './cases/weights.ts';
import { EchoMesh } from './echo-mesh.ts';
import { MESH_TEST_NAMES, type MeshTestName } from './mesh-tests.ts';

// A name without a test does not compile.
const runs: Runs<MeshTestName> = {
  ...{ ...basic, ...matching, ...weights, ...headers, ...paths, ...parents },
};

const mesh = new EchoMesh(test);

for (const name of MESH_TEST_NAMES) test.serial(name, (t) => runs[name](t, mesh));
