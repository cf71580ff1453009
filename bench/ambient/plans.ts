import type { MeasurePlan } from './measure.ts';
import { MeshError } from '../../base/errors.ts';
import { REPLICAS, SENDERS } from './application.ts';
import { CALLS_PER_REQUEST } from './call-graph.ts';
import { MODES, type ModeName } from './modes.ts';

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
const ALL_MODES = [
  ...(['none', 'ambient', 'ambient+10%', 'ambient+100%', 'sidecar', 'sidecar-envoy'] as const),
] as const;

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
    measure: {
      load: { ...LOAD, warmSeconds: 5, seconds: 30 },
      ...{ podStarts: 5, changes: 3, highest: true },
      extraLoads: [
        { name: 'slow', callsPerSecond: 100 },
        { name: 'large', body: 'large' },
        { name: 'fresh', connections: 0 },
      ],
    },
  },
} as const satisfies Readonly<Record<string, Plan>>;

/**
 * A plan with something of it changed. Goals are judged only where what they are about is still measured.
 *
 * @param changes as on the command line: lists with commas.
 * @throws {MeshError} ERR_BENCH_USAGE.
 */
export function changePlan(
  plan: Plan,
  changes: Readonly<{ pods?: string; modes?: string; rounds?: string }>,
): Plan {
  const pods = changes.pods?.split(',').map(readPods) ?? plan.pods;
  const modes = changes.modes?.split(',').map(readMode) ?? plan.modes;
  const repetitions = changes.rounds === undefined ? plan.repetitions : readRounds(changes.rounds);
  return { ...plan, pods, modes, repetitions, judges: plan.judges && repetitions >= MIN_ROUNDS };
}

/** Fewer repetitions judge nothing. */
const MIN_ROUNDS = 3;
const MIN_PODS = SENDERS + CALLS_PER_REQUEST * REPLICAS;

function readPods(text: string): number {
  const pods = Number(text);
  if (pods >= MIN_PODS && (pods - SENDERS) % REPLICAS === 0) return pods;
  const rule = `use at least ${MIN_PODS}: ${SENDERS} that send, and ${REPLICAS} for each service`;
  throw usageError(`${JSON.stringify(text)} pods cannot be had: ${rule}`);
}

function readMode(text: string): ModeName {
  const found = MODES.find(({ name }) => name === text)?.name;
  if (found !== undefined) return found;
  const names = MODES.map(({ name }) => name).join(', ');
  throw usageError(`there is no mode ${JSON.stringify(text)}; there are ${names}`);
}

function readRounds(text: string): number {
  const rounds = Number(text);
  if (Number.isInteger(rounds) && rounds > 0) return rounds;
  throw usageError(`--rounds ${JSON.stringify(text)} is no whole number above 0`);
}

function usageError(found: string): MeshError {
  return new MeshError('ERR_BENCH_USAGE', 'local', `Cannot run the benchmark: ${found}`);
}
