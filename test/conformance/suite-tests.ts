import { GATEWAY_TESTS } from './gateway/gateway-tests.ts';
import { MESH_TESTS } from './mesh-tests.ts';
import type { Profile } from './profiles.ts';

/** Every test of the suite that is here, by upstream's name. */
export const SUITE_TESTS: Readonly<Record<string, Profile>> = { ...MESH_TESTS, ...GATEWAY_TESTS };

export const SUITE_TEST_NAMES: readonly string[] = Object.keys(SUITE_TESTS);

/** How many upstream has, at the state that these follow. */
export const UPSTREAM_TESTS = 162;

/** What upstream runs only where a feature is missing that gateways have here. */
export const NOT_APPLICABLE = [
  'TLSRouteListenerTerminateNotSupported',
  'TLSRouteListenerMixedTerminationNotSupported',
] as const;
