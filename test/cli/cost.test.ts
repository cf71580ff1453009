import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import {
  ambientCost,
  sidecarCost,
  type Cluster,
  type Coefficients,
  type Prices,
} from '../../cli/cost/model.ts';
import { readPrices } from '../../cli/cost/prices.ts';
import { HaloProgram } from '../support/halo-program.ts';
import { TemporaryFolder } from '../support/temporary-folder.ts';

const halo = new HaloProgram('cost');
test.after.always(() => halo.end());

const coefficients: Coefficients = {
  provenance: {
    ...{ measuredAt: '2026-01-02T03:04:05.000Z', commit: 'abc', machine: 'a machine' },
    ...{ pods: [100], nodes: 2, callsPerSecond: 1000, quiet: true, envoy: '1.40.0' },
  },
  sidecarMb: { base: 20, perPod: 0.1 },
  ztunnelMb: { base: 100, perPod: 0.24 },
  waypointMb: { base: 64, perPod: 0 },
  ...{ sidecarUsPerCall: 400, ztunnelUsPerCall: 100, waypointUsPerCall: 200 },
};
const prices: Prices = { gbMonth: 2, cpuMonth: 10, currency: 'EUR', source: 'here' };
const cluster: Cluster = { pods: 1000, nodes: 10, callsPerSecond: 10_000, l7Share: 0.5 };

test('sidecars take memory by pods, each of which knows all pods, and processors by calls', (t) => {
  const { memoryGb, cpus, perMonth, formulas } = sidecarCost(coefficients, cluster, prices);
  t.is(memoryGb, (1000 * 120) / 1024);
  t.is(cpus, 4);
  t.is(perMonth, memoryGb * 2 + 40);
  t.deepEqual(formulas, [
    'memory = pods x sidecar = 1000 x (20.0 + 0.100 x 1000 pods) MB = 117.19 GB',
    'cpu = calls/s x time of a call = 10000 x 400 us = 4.00 cpu',
    'month = memory x 2 + cpu x 10 = 117.19 x 2 + 4.00 x 10 = 274.38 EUR',
  ]);
});

test('ambient takes memory by nodes, and a waypoint for each part of a processor that calls through them need', (t) => {
  const { memoryGb, cpus, formulas } = ambientCost(coefficients, cluster, prices);
  // 10,000 x 0.5 x 200 us are a whole processor: two waypoints at 60 % at most.
  t.is(memoryGb, (10 * 340 + 2 * 64) / 1024);
  t.is(cpus, 2);
  t.regex(formulas[0] ?? '', /^waypoints = .* = 2$/);
});

test('without L7 there is no waypoint, and with a little there is one', (t) => {
  const none = ambientCost(coefficients, { ...cluster, l7Share: 0 }, prices);
  t.is(none.memoryGb, 3400 / 1024);
  t.is(none.cpus, 1);
  const little = ambientCost(coefficients, { ...cluster, l7Share: 0.001 }, prices);
  t.is(little.memoryGb, 3464 / 1024);
});

test('prices come from YAML, and what is no price is named', (t) => {
  using folder = new TemporaryFolder();
  const path = join(folder.path, 'prices.yaml');
  const read = (text: string): Prices => {
    writeFileSync(path, text);
    return readPrices(path);
  };
  const good = read('gbMonth: 3\ncpuMonth: 20.5\ncurrency: CHF\n');
  t.deepEqual(good, { gbMonth: 3, cpuMonth: 20.5, currency: 'CHF', source: path });
  for (const [text, message] of [
    ['gbMonth: 3\n', /cpuMonth is missing, not a price/],
    ['gbMonth: -1\ncpuMonth: 2\n', /gbMonth is -1, not a price/],
    ['gbMonth: cheap\ncpuMonth: 2\n', /gbMonth is "cheap", not a price/],
    [': [', /Cannot read the prices in/],
  ] as const)
    t.throws(() => read(text), { code: 'ERR_PRICES', message });
  t.throws(() => readPrices(join(folder.path, 'none')), { message: /ENOENT/ });
});

test('halo cost shows both, the formulas with their numbers, and where its figures come from', async (t) => {
  const args = ['cost', '--pods', '500', '--nodes', '20', '--rate', '5000', '--l7', '0.1'];
  const { code, stdout } = await halo.run(...args);
  t.is(code, 0);
  t.regex(stdout, /^500 pods, 20 nodes, 5000 calls a second, 10 % of them through waypoints:$/m);
  t.regex(stdout, /^sidecars \(Envoy\) +[\d.]+ GB +[\d.]+ +[\d.]+ USD$/m);
  t.regex(stdout, /^ambient +[\d.]+ GB/m);
  t.regex(stdout, /^ {2}memory = nodes x ztunnel \+ waypoints x waypoint = 20 x \(/m);
  t.regex(stdout, /^Measured \d{4}-\d\d-\d\d at [0-9a-f]+\+? with [\d, ]+ pods on 2 nodes/m);
  t.regex(stdout, /^Prices: an example/m);
  const json = JSON.parse((await halo.run(...args, '-o', 'json')).stdout) as Record<
    string,
    unknown
  >;
  t.deepEqual(Object.keys(json), ['cluster', 'prices', 'sidecar', 'ambient', 'coefficients']);
});

test('halo cost says what it needs', async (t) => {
  const missing = await halo.run('cost', '--pods', '5');
  t.is(missing.code, 2);
  t.regex(missing.stderr, /--pods, --nodes and --rate are all needed/);
  const share = await halo.run(...'cost --pods 5 --nodes 1 --rate 1 --l7 10%'.split(' '));
  t.is(share.code, 2);
  t.regex(share.stderr, /Cannot read --l7 10%/);
});
