import test from 'ava';
import { coefficientsOf, fitLine } from '../../../bench/ambient/coefficients.ts';
import { PLANS } from '../../../bench/ambient/plans.ts';
import type { ModeSample } from '../../../bench/ambient/rows.ts';
import type { AmbientResults } from '../../../bench/ambient/results.ts';
import { sample } from './support/samples.ts';

function results(samples: readonly ModeSample[]): AmbientResults {
  return {
    ...{ benchmark: 'ambient', startedAt: '2026-01-02T03:04:05.000Z', quiet: true },
    environment: {
      ...{ cpu: 'a processor', cpus: 2, memoryGiB: 4, kernel: '6', system: 's', node: 'v26' },
      congestionControl: 'cubic',
      ...{ openssl: '3', commit: 'abc', versions: { envoy: '1.40.0' } },
    },
    settings: { ...PLANS.quick },
    ...{ samples, rows: [], failures: [] },
  };
}

const at = (pods: number): ModeSample[] => [
  sample('ambient', 0, { memoryMb: 200 + 2 * pods, cpuUsPerCall: 100 }, pods),
  sample('ambient+100%', 0, { memoryMb: 300 + 2 * pods, cpuUsPerCall: 350 }, pods),
  sample('sidecar-envoy', 0, { memoryMb: 20 * pods + pods * pods, cpuUsPerCall: 400 }, pods),
];

test('memory of a process is a line through the sizes, processor time that of the largest', (t) => {
  const found = coefficientsOf(results([...at(10), ...at(30), ...at(100)]));
  const near = (line: { base: number; perPod: number }, base: number, perPod: number): void => {
    t.true(Math.abs(line.base - base) < 1e-6 && Math.abs(line.perPod - perPod) < 1e-9);
  };
  near(found.sidecarMb, 20, 1);
  near(found.ztunnelMb, 100, 1);
  near(found.waypointMb, 100, 0);
  t.like(found, { sidecarUsPerCall: 400, ztunnelUsPerCall: 100, waypointUsPerCall: 250 });
  t.like(found.provenance, { pods: [10, 30, 100], nodes: 2, callsPerSecond: 1000, commit: 'abc' });
});

test('one size says nothing about growth', (t) => {
  t.deepEqual(coefficientsOf(results(at(30))).sidecarMb, { base: 50, perPod: 0 });
});

test('a run without sidecars or without a waypoint says nothing of them', (t) => {
  const without = (mode: string): ModeSample[] => at(30).filter((one) => one.mode !== mode);
  t.throws(() => coefficientsOf(results(without('sidecar-envoy'))), { message: /sidecar-envoy/ });
  t.throws(() => coefficientsOf(results(without('ambient+100%'))), { message: /no mode has one/ });
});

test('a line goes through the middle of its points, and never downwards', (t) => {
  t.deepEqual(
    fitLine([
      [1, 3],
      [3, 7],
    ]),
    { base: 1, perPod: 2 },
  );
  t.deepEqual(
    fitLine([
      [1, 8],
      [3, 4],
    ]),
    { base: 6, perPod: 0 },
  );
});
