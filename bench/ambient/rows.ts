import { makeRow, type Better, type Budget, type Row } from '../harness/rows.ts';
import { median } from '../harness/statistics.ts';
import type { ModeName } from './modes.ts';
import type { Sample } from './measure.ts';

/** One repetition of one mode with so many pods. */
export type ModeSample = Sample & Readonly<{ mode: ModeName; pods: number; repetition: number }>;

export type Metric = Readonly<{
  /** Of Sample.values. */
  value: string;
  title: string;
  unit: string;
  /** Less what it is without a mesh, in the same repetition. */
  aboveNone?: boolean;
  better?: Better;
  /** As a part of what Envoy sidecars take at 100 pods. */
  budget?: Budget;
}>;

export const METRICS: readonly Metric[] = [
  {
    ...{ value: 'memoryMb', title: 'memory of the data plane', unit: 'MB' },
    budget: { must: 0.2, aim: 0.1 },
  },
  { value: 'startMemoryMb', title: 'memory of the data plane before load', unit: 'MB' },
  { value: 'proportionalMb', title: 'memory, proportional on this machine', unit: 'MB' },
  { value: 'memoryPerPodMb', title: 'memory per pod', unit: 'MB' },
  { value: 'memoryPerNodeMb', title: 'memory per node', unit: 'MB' },
  {
    ...{ value: 'cpuUsPerCall', title: 'processor time of a call', unit: 'us' },
    budget: { must: 0.7, aim: 0.5 },
  },
  { value: 'p50Us', title: 'p50 above none', unit: 'us', aboveNone: true },
  { value: 'p90Us', title: 'p90 above none', unit: 'us', aboveNone: true },
  {
    ...{ value: 'p99Us', title: 'p99 above none', unit: 'us', aboveNone: true },
    budget: { must: 0.8, aim: 0.6 },
  },
  { value: 'p999Us', title: 'p99.9 above none', unit: 'us', aboveNone: true },
  {
    ...{ value: 'podStartMs', title: 'pod start above none', unit: 'ms', aboveNone: true },
    budget: { must: 0.3, aim: 0.15 },
  },
  { value: 'enrolmentMs', title: 'a running pod into the mesh', unit: 'ms' },
  { value: 'changeMs', title: 'a change in force everywhere', unit: 'ms' },
  { value: 'bytesPerCall', title: 'bytes sent per call', unit: 'B' },
  ...[
    { name: 'slow', what: '100 calls a second' },
    { name: 'large', what: '16 KiB bodies' },
    { name: 'fresh', what: 'new connections' },
  ].flatMap(({ name, what }): Metric[] => [
    { value: `${name}.cpuUsPerCall`, title: `processor time of a call, ${what}`, unit: 'us' },
    { value: `${name}.p50Us`, title: `p50 above none, ${what}`, unit: 'us', aboveNone: true },
    { value: `${name}.p99Us`, title: `p99 above none, ${what}`, unit: 'us', aboveNone: true },
  ]),
  {
    ...{ value: 'highest.callsPerSecond', title: 'highest rate', unit: '1/s' },
    better: 'higher',
  },
];

/** Those that a run has measured: what only some plans ask for is left out. */
export function metricsOf(samples: readonly ModeSample[]): readonly Metric[] {
  return METRICS.filter(({ value }) => samples.some(({ values }) => value in values));
}

/** Whom modes are compared with, and what the goals of that are about; other rows have none. */
type Comparison = Readonly<{
  peer: ModeName;
  /** What rows are called by, after the mode. */
  suffix: string;
  judged: readonly ModeName[];
  budgetOf(metric: Metric): Budget | undefined;
}>;

const WITH_ENVOY: Comparison = {
  ...{ peer: 'sidecar-envoy', suffix: '', judged: ['ambient'] },
  budgetOf: ({ budget }) => budget,
};
/** The same code in the other shape: there, every figure has to be better. */
const WITH_OURS: Comparison = {
  ...{ peer: 'sidecar', suffix: ' against sidecar', judged: ['ambient', 'ambient+10%'] },
  budgetOf: () => ({ must: 1, aim: 1 }),
};
/** Goals are about this size. */
const JUDGED_PODS = 100;

/** The rows of a run: each mode against sidecars, and what only the ambient modes have. */
export function rowsOf(samples: readonly ModeSample[], judges: boolean): readonly Row[] {
  const sizes = [...new Set(samples.map(({ pods }) => pods))];
  return sizes.flatMap((pods) => {
    const ofSize = samples.filter((sample) => sample.pods === pods);
    const modes = [...new Set(ofSize.map(({ mode }) => mode))].filter(
      (mode) => mode !== 'none' && mode !== WITH_ENVOY.peer,
    );
    return modes.flatMap((mode) => {
      const rows = rowsOfMode(ofSize, mode, { pods, judges, comparison: WITH_ENVOY });
      if (mode === WITH_OURS.peer) return rows;
      const comparison = modes.includes(WITH_OURS.peer) ? WITH_OURS : undefined;
      return [
        ...rows,
        ...(comparison ? rowsOfMode(ofSize, mode, { pods, judges, comparison }) : []),
        controlMemory(ofSize, mode, pods),
      ];
    });
  });
}

function rowsOfMode(
  samples: readonly ModeSample[],
  mode: ModeName,
  { pods, judges, comparison }: Readonly<{ pods: number; judges: boolean; comparison: Comparison }>,
): Row[] {
  const { peer: name, suffix } = comparison;
  const judged = judges && comparison.judged.includes(mode) && pods === JUDGED_PODS;
  return metricsOf(samples).map((metric) => {
    const { value, title, unit, better = 'lower', aboveNone } = metric;
    const values = valuesOf(samples, name, value, aboveNone);
    const budget = comparison.budgetOf(metric);
    return makeRow({
      ...{ metric: `${mode}${suffix}, ${pods} pods: ${title}`, unit, better },
      ours: valuesOf(samples, mode, value, aboveNone),
      ...(values.length > 0 && {
        peer: { name, values },
        ...(judged && budget !== undefined && { budget }),
      }),
    });
  });
}

function controlMemory(samples: readonly ModeSample[], mode: ModeName, pods: number): Row {
  const ours = valuesOf(samples, mode, 'controlMemoryMb', false);
  const metric = `${mode}, ${pods} pods: memory of control plane and node agents`;
  return makeRow({ metric, unit: 'MB', better: 'lower', ours });
}

/** A value of a mode, repetition by repetition. */
export function valuesOf(
  samples: readonly ModeSample[],
  mode: ModeName,
  value: string,
  aboveNone = false,
): readonly number[] {
  const of = (name: ModeName): ModeSample[] => samples.filter((sample) => sample.mode === name);
  const base = new Map(of('none').map((sample) => [sample.repetition, sample.values[value]]));
  return of(mode).map((sample) => {
    const own = sample.values[value] ?? NaN;
    return aboveNone ? own - (base.get(sample.repetition) ?? NaN) : own;
  });
}

export function medianOf(samples: readonly ModeSample[], mode: ModeName, value: string): number {
  return median(valuesOf(samples, mode, value));
}
