import { ENVOY } from '../peers/envoy.ts';
import { SIDECAR_PROGRAM } from '../sidecar/halo-files.ts';
import { shareOfServices, type CallGraph } from './call-graph.ts';

/** A shape of the mesh, under which the same application runs. */
export type ModeName =
  | 'none'
  | 'ambient'
  | 'ambient+10%'
  | 'ambient+100%'
  | 'sidecar'
  | 'sidecar-envoy';

export type Mode = Readonly<{
  name: ModeName;
  /** One for each node, one for each pod, or nothing at all. */
  proxies: 'none' | 'node' | 'pod';
  /** Of the services, behind a waypoint. */
  l7Share: number;
  /** What the processes of its data plane run. */
  programs: readonly string[];
}>;

const ZTUNNEL = 'ztunnel/main.ts';
const WAYPOINT = 'waypoint/main.ts';

export const MODES: readonly Mode[] = [
  { name: 'none', proxies: 'none', l7Share: 0, programs: [] },
  { name: 'ambient', proxies: 'node', l7Share: 0, programs: [ZTUNNEL] },
  { name: 'ambient+10%', proxies: 'node', l7Share: 0.1, programs: [ZTUNNEL, WAYPOINT] },
  { name: 'ambient+100%', proxies: 'node', l7Share: 1, programs: [ZTUNNEL, WAYPOINT] },
  { name: 'sidecar', proxies: 'pod', l7Share: 0, programs: [SIDECAR_PROGRAM] },
  { name: 'sidecar-envoy', proxies: 'pod', l7Share: 0, programs: [ENVOY] },
];

/** What the control plane of ambient modes runs; sidecars are configured by files. */
export const CONTROL_PROGRAMS: readonly string[] = ['istiod-lite/main.ts', 'node-agent/main.ts'];

export function waypointedServices(mode: Mode, graph: CallGraph): readonly string[] {
  return shareOfServices(graph, mode.l7Share);
}
