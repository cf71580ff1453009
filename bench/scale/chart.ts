import type { TopLevelSpec } from 'vega-lite';
import { median } from '../harness/statistics.ts';
import { formatColumns } from '../harness/table.ts';
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

/** How each curve grows from one size to the next, a line each: where the powers differ, it bends. */
export function formatGrowth(points: readonly ScalePoint[]): string {
  const steps = points.slice(1).map((to, index) => [points[index] ?? to, to] as const);
  const head = [
    'grows as workloads to the power of',
    ...steps.map(([, to]) => `to ${to.workloads}`),
  ];
  const lines = CURVES.map(({ what, of }) => [
    what,
    ...steps.map(([from, to]) =>
      growth([from.workloads, of(from)], [to.workloads, of(to)]).toFixed(1),
    ),
  ]);
  return formatColumns([head, ...lines], new Set(steps.map((_, index) => index + 1)));
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
