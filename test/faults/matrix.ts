import { join } from 'node:path';
import type { MeshOptions } from '../support/mesh.ts';
import { useOwnState } from '../support/own-state.ts';
import { CLOCK_PARTS, clockEnvironment, clockFaults } from './catalogue/clock.ts';
import { diskFaults } from './catalogue/disk.ts';
import { limitFaults } from './catalogue/limits.ts';
import { packetFaults } from './catalogue/packets.ts';
import { processFaults, waypointFaults } from './catalogue/processes.ts';
import { processorFault } from './catalogue/processor.ts';
import { upstreamFaults } from './catalogue/upstreams.ts';
import type { Fault } from './fault.ts';
import { MESH_YAML, WAYPOINT_YAML } from './loads.ts';

/** Where the clock of a part is written. */
function clockFile(part: string): string {
  return join(useOwnState(), `${part}.clock`);
}

/** Every fault, in the order of the catalogue. */
export const FAULTS: readonly Fault[] = [
  ...processFaults,
  processorFault,
  ...limitFaults,
  ...packetFaults,
  ...diskFaults,
  ...upstreamFaults,
  ...clockFaults(clockFile),
];

/**
 * What is tried of them with waypoints in the path each time: what stops, cuts or slows a process or a network that such a
 * connection passes. The soak has all.
 */
export const WAYPOINT_FAULTS: readonly Fault[] = [
  ...waypointFaults,
  ...processFaults,
  processorFault,
  ...packetFaults,
  ...upstreamFaults.filter(({ name }) => name.startsWith('the control plane')),
];

/** With those of waypoints. */
export const ALL_FAULTS: readonly Fault[] = [...waypointFaults, ...FAULTS];

/** The mesh in which all of them happen. */
export function faultMeshOptions({ waypoints }: Readonly<{ waypoints: boolean }>): MeshOptions {
  const clocks = CLOCK_PARTS.map((part) => [part, clockEnvironment(clockFile(part))] as const);
  return {
    ...{ nodes: 2, yaml: waypoints ? MESH_YAML + WAYPOINT_YAML : MESH_YAML },
    settings: { dnsCapture: true, partEnvironment: Object.fromEntries(clocks) },
  };
}
