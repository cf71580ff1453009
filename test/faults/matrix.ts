import { join } from 'node:path';
import type { MeshOptions } from '../support/mesh.ts';
import { useOwnState } from '../support/own-state.ts';
import { CLOCK_PARTS, clockEnvironment, clockFaults } from './catalogue/clock.ts';
import { diskFaults } from './catalogue/disk.ts';
import { limitFaults } from './catalogue/limits.ts';
import { packetFaults } from './catalogue/packets.ts';
import { processFaults } from './catalogue/processes.ts';
import { processorFault } from './catalogue/processor.ts';
import { upstreamFaults } from './catalogue/upstreams.ts';
import type { Fault } from './fault.ts';
import { MESH_YAML } from './loads.ts';

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

/** The mesh in which all of them happen. */
export function faultMeshOptions(): MeshOptions {
  const clocks = CLOCK_PARTS.map((part) => [part, clockEnvironment(clockFile(part))] as const);
  return {
    ...{ nodes: 2, yaml: MESH_YAML },
    settings: { dnsCapture: true, partEnvironment: Object.fromEntries(clocks) },
  };
}
