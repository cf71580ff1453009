/**
 * How long does a waypoint take to choose an endpoint, and how long is the thread held when endpoints change?
 * Prints for each balancer, among 10, 1,000 and 10,000 endpoints, the nanoseconds of a pick (the median of five samples, through
 * EndpointPicker), and of making the balancer anew: the whole, and its longest step, between which others run.
 *
 *     node bench/balance.ts [--json]
 */
import type { BalancerPolicy } from '../mesh/model/traffic-policy.ts';
import { buildBalancer } from '../waypoint/balance/build.ts';
import type { Endpoint } from '../waypoint/balance/endpoint.ts';
import { hashText } from '../waypoint/balance/hash.ts';
import { EndpointPicker } from '../waypoint/balance/picker.ts';
import { RandomSource } from '../waypoint/balance/random-source.ts';
import { EndpointStates } from '../waypoint/endpoint-state.ts';
import { OutlierDetector } from '../waypoint/outlier.ts';
import { systemClock } from '../certs/clock.ts';
import { makeEndpoints } from '../test/support/endpoints.ts';
import { OUTLIERS_OFF } from '../test/support/outlier-model.ts';

const SIZES = [10, 1000, 10_000];
const PICKS = 200_000;
const SAMPLES = 5;
const source = { kind: 'source-ip' } as const;

type Candidate = Readonly<{ name: string; policy: BalancerPolicy; weighted: boolean }>;
const CANDIDATES: readonly Candidate[] = [
  { name: 'round robin', policy: { kind: 'round-robin' }, weighted: false },
  { name: 'round robin, weighted', policy: { kind: 'round-robin' }, weighted: true },
  { name: 'least request', policy: { kind: 'least-request' }, weighted: false },
  { name: 'least request, weighted', policy: { kind: 'least-request' }, weighted: true },
  { name: 'random', policy: { kind: 'random' }, weighted: false },
  { name: 'random, weighted', policy: { kind: 'random' }, weighted: true },
  {
    name: 'ring hash',
    policy: { kind: 'ring-hash', source, minimumRingSize: 1024 },
    weighted: false,
  },
  { name: 'Maglev', policy: { kind: 'maglev', source, tableSize: 65_537 }, weighted: false },
];

const hashes = Array.from({ length: 4096 }, (_, index) => hashText(`client-${index}`));

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}

function endpointsOf(size: number, weighted: boolean): Endpoint[] {
  return makeEndpoints(
    Array.from({ length: size }, (_, index) => (weighted ? 1 + (index % 5) : 1)),
  );
}

/** Nanoseconds of a pick, and bytes that it leaves to the collector. */
function costOfPick({ policy, weighted }: Candidate, size: number): readonly [number, number] {
  using picker = new EndpointPicker(systemClock);
  const levels = [[{ weight: 1, endpoints: endpointsOf(size, weighted) }]];
  picker.replace({ policy, warmup: undefined, panicPercent: 0, levels });
  const request: { hash: number } = { hash: 0 };
  const run = (): void => {
    for (let index = 0; index < PICKS; index++) {
      request.hash = hashes[index & 4095] ?? 0;
      if (picker.pick(request) === undefined) throw new Error('no endpoint was picked');
    }
  };
  run();
  const times: number[] = [];
  const bytes: number[] = [];
  for (let sample = 0; sample < SAMPLES; sample++) {
    const heap = process.memoryUsage().heapUsed;
    const start = process.hrtime.bigint();
    run();
    times.push(Number(process.hrtime.bigint() - start) / PICKS);
    bytes.push((process.memoryUsage().heapUsed - heap) / PICKS);
  }
  return [median(times), median(bytes)];
}

/** Milliseconds of making the balancer, and of its longest step. */
function buildTimes({ policy, weighted }: Candidate, size: number): readonly [number, number] {
  const endpoints = endpointsOf(size, weighted);
  const wholes: number[] = [];
  const steps: number[] = [];
  for (let sample = 0; sample < SAMPLES; sample++) {
    const building = buildBalancer(endpoints, {
      ...{ policy, warmup: undefined, now: systemClock.now, random: new RandomSource(Math.random) },
    });
    let whole = 0;
    let longest = 0;
    for (let done: boolean | undefined = false; done !== true; ) {
      const start = performance.now();
      ({ done } = building.next());
      const took = performance.now() - start;
      whole += took;
      longest = Math.max(longest, took);
    }
    wholes.push(whole);
    steps.push(longest);
  }
  return [median(wholes), median(steps)];
}

/** Milliseconds of a sweep that judges every endpoint by all statistics. */
function sweepMs(size: number): number {
  const states = new EndpointStates();
  const members = states.replace(
    Array.from({ length: size }, (_, index) => ({ key: `e${index}`, healthy: true })),
    0,
  );
  const detector = new OutlierDetector(states, { now: () => 0, onAvailability: () => undefined });
  detector.configure({
    ...OUTLIERS_OFF,
    splitExternalLocalOriginErrors: true,
    ...{ successRateStdevFactor: 1900, successRateRequestVolume: 1 },
    ...{ failurePercentageThreshold: 85, failurePercentageRequestVolume: 1 },
  });
  return median(
    Array.from({ length: SAMPLES }, () => {
      for (const state of members) detector.reportStatus(state, 200);
      const start = performance.now();
      detector.sweep();
      return performance.now() - start;
    }),
  );
}

const rows = CANDIDATES.flatMap((candidate) =>
  SIZES.map((endpoints) => {
    const [buildMs, longestStepMs] = buildTimes(candidate, endpoints);
    const [pickNs, pickBytes] = costOfPick(candidate, endpoints);
    return { balancer: candidate.name, endpoints, pickNs, pickBytes, buildMs, longestStepMs };
  }),
);
const sweeps = SIZES.map((endpoints) => ({ endpoints, sweepMs: sweepMs(endpoints) }));

if (process.argv.includes('--json')) console.log(JSON.stringify({ rows, sweeps }));
else {
  console.log(
    'balancer                  endpoints   pick ns  pick bytes   making ms   longest step ms',
  );
  for (const { balancer, endpoints, pickNs, pickBytes, buildMs, longestStepMs } of rows)
    console.log(
      balancer.padEnd(26) +
        String(endpoints).padStart(9) +
        pickNs.toFixed(1).padStart(10) +
        pickBytes.toFixed(1).padStart(12) +
        buildMs.toFixed(2).padStart(12) +
        longestStepMs.toFixed(2).padStart(18),
    );
  for (const { endpoints, sweepMs: ms } of sweeps)
    console.log(`outlier sweep of ${endpoints} endpoints: ${ms.toFixed(2)} ms`);
}
