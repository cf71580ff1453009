import type { MeasurePlan } from './measure.ts';
import type { ModeName } from './modes.ts';

export type Plan = Readonly<{
  name: 'quick' | 'standard' | 'full';
  /** Each is a run of every mode with so many pods: two of them send requests, the others are two to a service. */
  pods: readonly number[];
  nodes: number;
  modes: readonly ModeName[];
  repetitions: number;
  measure: MeasurePlan;
  /** Whether the goals for 100 pods are judged by it. */
  judges: boolean;
}>;

const LOAD = { callsPerSecond: 1000, connections: 16 } as const;
const ALL_MODES = ['none', 'ambient', 'ambient+10%', 'ambient+100%', 'sidecar-envoy'] as const;

export const PLANS = {
  /** Under five minutes. */
  quick: {
    ...{ name: 'quick', pods: [30], nodes: 2, repetitions: 1, judges: false },
    modes: ['none', 'ambient', 'ambient+10%', 'sidecar-envoy'],
    measure: { load: { ...LOAD, warmSeconds: 3, seconds: 10 }, podStarts: 5, changes: 3 },
  },
  /** About half an hour. */
  standard: {
    ...{ name: 'standard', pods: [100], nodes: 2, repetitions: 3, judges: true },
    modes: ALL_MODES,
    measure: { load: { ...LOAD, warmSeconds: 5, seconds: 30 }, podStarts: 5, changes: 3 },
  },
  full: {
    ...{ name: 'full', pods: [10, 30, 100], nodes: 2, repetitions: 5, judges: true },
    modes: ALL_MODES,
    measure: { load: { ...LOAD, warmSeconds: 5, seconds: 30 }, podStarts: 5, changes: 3 },
  },
} as const satisfies Readonly<Record<string, Plan>>;
