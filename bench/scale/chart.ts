import type { TopLevelSpec } from 'vega-lite';
import { median } from '../harness/statistics.ts';
import type { ScalePoint } from './task.ts';

const CURVES: readonly Readonly<{ what: string; of(point: ScalePoint): number }>[] = [
  { what: 'control plane, MB', of: ({ controlMb }) => controlMb },
  { what: 'ztunnel, MB', of: ({ ztunnelMb }) => ztunnelMb },
  { what: 'first configuration, ms', of: ({ firstMs }) => median(firstMs) },
  { what: 'a change, ms', of: ({ changeMs }) => median(changeMs) },
  { what: 'processor time of a change, ms', of: ({ changeCpuMs }) => changeCpuMs },
];

/** What grows with the number of workloads, both axes logarithmic: what is proportional to it rises by 45 degrees. */
export function scaleChart(points: readonly ScalePoint[]): TopLevelSpec {
  const values = points.flatMap((point) =>
    CURVES.map(({ what, of }) => ({ workloads: point.workloads, what, value: of(point) })),
  );
  const log = { type: 'log' };
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    ...{ title: 'Control plane and proxy by workloads', width: 480, height: 320 },
    ...{ background: 'white', data: { values } },
    mark: { type: 'line', point: true },
    encoding: {
      x: { field: 'workloads', type: 'quantitative', scale: log },
      y: { field: 'value', type: 'quantitative', scale: log, title: null },
      color: { field: 'what', type: 'nominal', sort: null, title: null },
    },
  } as TopLevelSpec;
}

/**
 * By which power of the workloads a value grows between two sizes: 0 not at all, 1 in proportion, more than 1 faster.
 */
export function growth(
  from: readonly [workloads: number, value: number],
  to: readonly [workloads: number, value: number],
): number {
  return Math.log(to[1] / from[1]) / Math.log(to[0] / from[0]);
}
