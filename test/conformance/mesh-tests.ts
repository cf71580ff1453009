import type { Profile } from './profiles.ts';

/** All mesh tests of the suite, by upstream's names and in its order of profiles. */
export const MESH_TESTS = {
  MeshBasic: 'MESH-HTTP core, MESH-GRPC core',
  MeshHTTPRouteSimpleSameNamespace: 'MESH-HTTP core',
  MeshHTTPRouteMatching: 'MESH-HTTP core',
  MeshTrafficSplit: 'MESH-HTTP core',
  MeshHTTPRouteWeight: 'MESH-HTTP core',
  MeshHTTPRouteRequestHeaderModifier: 'MESH-HTTP core',
  MeshHTTPRouteRedirectHostAndStatus: 'MESH-HTTP core',
  MeshHTTPRouteQueryParamMatching: 'MESH-HTTP extended',
  MeshHTTPRouteRedirectPath: 'MESH-HTTP extended',
  MeshHTTPRouteRedirectPort: 'MESH-HTTP extended',
  MeshHTTPRouteSchemeRedirect: 'MESH-HTTP extended',
  MeshHTTPRouteRewritePath: 'MESH-HTTP extended',
  MeshHTTPRouteBackendRequestHeaderModifier: 'MESH-HTTP extended',
  MeshHTTPRouteNamedRule: 'MESH-HTTP extended',
  MeshGRPCRouteWeight: 'MESH-GRPC core',
  MeshGRPCRouteRequestHeaderModifier: 'MESH-GRPC core',
  MeshFrontend: 'none',
  MeshFrontendHostname: 'none',
  MeshPorts: 'none',
  MeshConsumerRoute: 'none',
  MeshHTTPRoute303Redirect: 'none',
  MeshHTTPRoute307Redirect: 'none',
  MeshHTTPRoute308Redirect: 'none',
} as const satisfies Readonly<Record<string, Profile>>;

export type MeshTestName = keyof typeof MESH_TESTS;

export const MESH_TEST_NAMES = Object.keys(MESH_TESTS) as readonly MeshTestName[];
