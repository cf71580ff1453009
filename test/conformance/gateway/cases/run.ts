import type { ExecutionContext } from 'ava';
import type { GatewayMesh } from '../gateway-mesh.ts';
import type { GatewayTestName } from '../gateway-tests.ts';

/** What one of the suite's gateway tests does. */
export type Run = (t: ExecutionContext, mesh: GatewayMesh) => Promise<void>;

/** Some of the suite's gateway tests. */
export type Runs<Names extends GatewayTestName> = Readonly<Record<Names, Run>>;
