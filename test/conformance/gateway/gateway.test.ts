/*
 * The gateway tests of the Gateway API's conformance suite, by their upstream names. Requests come from outside of the mesh;
 * gateways reach their backends by HBONE. As in the mesh's tests, what a backend saw and the whole of Location count, and no
 * request is tried again: what was applied is in force.
 */
import test from 'ava';
import { attaching } from './cases/attaching.ts';
import { backends } from './cases/backends.ts';
import { cors } from './cases/cors.ts';
import { gateways } from './cases/gateways.ts';
import { grpc } from './cases/grpc.ts';
import { headers } from './cases/headers.ts';
import { matching } from './cases/matching.ts';
import { mirrors } from './cases/mirrors.ts';
import { paths } from './cases/paths.ts';
import { protocols } from './cases/protocols.ts';
import { resilience } from './cases/resilience.ts';
import type { Runs } from './cases/run.ts';
import { backendTls } from './cases/backend-tls.ts';
import { tlsRoutes } from './cases/tls-routes.ts';
import { tlsListeners } from './cases/tls-listeners.ts';
import { STREAM_LISTENERS, STREAMS, streamRoutes } from './cases/streams.ts';
import { GatewayMesh } from './gateway-mesh.ts';
import { GATEWAY_TEST_NAMES, type GatewayTestName } from './gateway-tests.ts';
import { gateway, routesFrom } from './objects.ts';

// A name without a test does not compile.
const runs: Runs<GatewayTestName> = {
  ...{ ...tlsListeners, ...backendTls, ...tlsRoutes },
  ...{ ...gateways, ...attaching, ...matching, ...backends, ...headers, ...paths },
  ...{ ...resilience, ...mirrors, ...cors, ...protocols, ...grpc, ...streamRoutes },
};

const mesh = new GatewayMesh(test, [
  gateway('same-namespace', [{ name: 'http', ...routesFrom('Same') }]),
  gateway('all-namespaces', [{ name: 'http', ...routesFrom('All') }]),
  gateway('backend-namespaces', [
    { name: 'http', ...routesFrom({ 'gateway-conformance': 'backend' }) },
  ]),
  gateway(STREAMS, STREAM_LISTENERS),
]);

for (const name of GATEWAY_TEST_NAMES) test.serial(name, (t) => runs[name](t, mesh));
