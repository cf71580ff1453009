import type { Coefficients, Linear } from '../../cli/cost/model.ts';
import { median } from '../harness/statistics.ts';
import { REPLICAS, SENDERS } from './application.ts';
import { makeCallGraph, shareOfCalls } from './call-graph.ts';
import { MODES, waypointedServices, type ModeName } from './modes.ts';
import { valuesOf, type ModeSample } from './rows.ts';
import type { AmbientResults } from './results.ts';

/** One more proxy beside the ztunnels of a mode with waypoints: one waypoint serves them all. */
const WAYPOINTS = 1;

/**
 * What `halo cost` reckons with, of a run: memory of a process by a straight line through the sizes that were measured
 * (flat where there is one), processor time by the largest.
 *
 * @throws {Error} when a mode that is needed is not in it.
 */
export function coefficientsOf(results: AmbientResults): Coefficients {
  const { samples, environment } = results;
  const plan = results.settings;
  const sizes = [...new Set(samples.map(({ pods }) => pods))].sort((a, b) => a - b);
  const largest = samples.filter(({ pods }) => pods === sizes.at(-1));
  const line = (processMb: (ofSize: readonly ModeSample[], pods: number) => number): Linear =>
    fitLine(
      sizes.map((pods) => [
        pods,
        processMb(
          samples.filter((one) => one.pods === pods),
          pods,
        ),
      ]),
    );
  const cpu = (mode: ModeName): number => needed(largest, mode, 'cpuUsPerCall');
  const ztunnelsMb = (ofSize: readonly ModeSample[]): number =>
    needed(ofSize, 'ambient', 'memoryMb');
  const l7 = l7ModeOf(largest);
  return {
    provenance: {
      ...{ measuredAt: results.startedAt, commit: environment.commit, quiet: results.quiet },
      machine: `${environment.cpu}, ${environment.cpus} processors`,
      ...{ pods: sizes, nodes: plan.nodes, callsPerSecond: plan.measure.load.callsPerSecond },
      envoy: environment.versions['envoy'] ?? 'unknown',
    },
    sidecarMb: line((ofSize, pods) => needed(ofSize, 'sidecar-envoy', 'memoryMb') / pods),
    ztunnelMb: line((ofSize) => ztunnelsMb(ofSize) / plan.nodes),
    waypointMb: line((ofSize) => (needed(ofSize, l7, 'memoryMb') - ztunnelsMb(ofSize)) / WAYPOINTS),
    sidecarUsPerCall: cpu('sidecar-envoy'),
    ztunnelUsPerCall: cpu('ambient'),
    waypointUsPerCall: (cpu(l7) - cpu('ambient')) / l7CallShare(l7, sizes.at(-1) ?? 0),
  };
}

/** The mode with most behind waypoints: the difference to the one without is told best there. */
function l7ModeOf(samples: readonly ModeSample[]): ModeName {
  const there = new Set(samples.map(({ mode }) => mode));
  const modes = MODES.filter(({ name, l7Share }) => l7Share > 0 && there.has(name));
  const most = modes.toSorted((a, b) => b.l7Share - a.l7Share)[0];
  if (most === undefined) throw new Error('Cannot tell what a waypoint costs: no mode has one');
  return most.name;
}

function l7CallShare(name: ModeName, pods: number): number {
  const mode = MODES.find((one) => one.name === name);
  const graph = makeCallGraph((pods - SENDERS) / REPLICAS);
  return mode === undefined ? NaN : shareOfCalls(graph, waypointedServices(mode, graph));
}

function needed(samples: readonly ModeSample[], mode: ModeName, value: string): number {
  const found = median(valuesOf(samples, mode, value));
  if (Number.isFinite(found)) return found;
  throw new Error(`Cannot tell the ${value} of ${mode}: this run has not measured it`);
}

/** The straight line with the least squares of distances; flat through a single point, and never downwards. */
export function fitLine(points: readonly (readonly [x: number, y: number])[]): Linear {
  const mean = (of: (point: readonly [number, number]) => number): number =>
    points.reduce((sum, point) => sum + of(point), 0) / points.length;
  const [meanX, meanY] = [mean(([x]) => x), mean(([, y]) => y)];
  const varianceX = mean(([x]) => (x - meanX) ** 2);
  if (varianceX === 0) return { base: meanY, perPod: 0 };
  const slope = mean(([x, y]) => (x - meanX) * (y - meanY)) / varianceX;
  // What shrinks as the mesh grows is a shared cost that is spread over more: a line must not carry that to nothing.
  if (slope <= 0) return { base: meanY, perPod: 0 };
  return { base: meanY - slope * meanX, perPod: slope };
}
