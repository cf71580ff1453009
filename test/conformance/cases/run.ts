import type { ExecutionContext } from 'ava';
import type { EchoMesh } from '../echo-mesh.ts';
import type { MeshTestName } from '../mesh-tests.ts';

/** What one of the suite's tests does. */
export type Run = (t: ExecutionContext, mesh: EchoMesh) => Promise<void>;

/** Some of the suite's tests. */
export type Runs<Names extends MeshTestName> = Readonly<Record<Names, Run>>;
