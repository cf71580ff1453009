import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describeError } from '../../base/errors.ts';
import type { Results } from '../harness/results.ts';
import { makeRow, type Row } from '../harness/rows.ts';
import { formatOutcome, runQuietly } from '../harness/run-quietly.ts';
import { quantile } from '../harness/statistics.ts';
import { runAlone } from '../l4/ztunnel-alone.ts';
import { drawSvg } from '../ambient/charts.ts';
import { formatGrowth, scaleChart } from './chart.ts';
import { runScale, type ScalePoint } from './task.ts';

/** So many pods to a node, as clusters have them. */
const PODS_PER_NODE = 50;
/** Streams beyond these would measure the machine that simulates the nodes. */
const MAX_PROXIES = 200;
const CHANGES = 20;
const WORKLOADS_PER_SERVICE = 10;
const MB = 1 << 20;

/** Two sizes are asked for; those between them show where a curve bends. */
const SIZES = [1000, 3000, 10_000];
const FULL_SIZES = [...SIZES, 30_000, 100_000];

type ScaleOutcome = Pick<Results, 'rows' | 'failures'> &
  Readonly<{ points: readonly ScalePoint[] }>;

export type ScaleRun = Readonly<{
  full: boolean;
  path: string;
  allowBusy: boolean;
  note(text: string): void;
}>;

/** Control plane and proxy state past one machine: simulated workloads and nodes, real streams. */
export async function runScaleBenchmark({
  full,
  path,
  allowBusy,
  note,
}: ScaleRun): Promise<boolean> {
  const sizes = full ? FULL_SIZES : SIZES;
  const { results, passed } = await runQuietly<ScaleOutcome>({
    ...{ benchmark: 'scale', settings: { sizes, changes: CHANGES }, path, allowBusy, note },
    programs: {},
    measure: (onOutcome) => measureSizes(sizes, note, onOutcome),
  });
  process.stdout.write(formatOutcome(results) + formatGrowth(results.points));
  const chart = join(dirname(path), 'scale.svg');
  writeFileSync(chart, await drawSvg(scaleChart(results.points)));
  note(`the curve is ${chart}`);
  return passed;
}

async function measureSizes(
  sizes: readonly number[],
  note: (text: string) => void,
  onOutcome: (soFar: ScaleOutcome) => void,
): Promise<ScaleOutcome> {
  const points: ScalePoint[] = [];
  const failures: Results['failures'][number][] = [];
  const outcome = (): ScaleOutcome => ({ points, failures, rows: points.flatMap(rowsOf) });
  for (const workloads of sizes) {
    const proxies = proxiesFor(workloads);
    note(`${workloads} workloads, ${proxies} proxies`);
    try {
      const report = await runScale({ workloads, proxies, changes: CHANGES });
      const services = Math.ceil(workloads / WORKLOADS_PER_SERVICE);
      const alone = await runAlone({ workloads, services, starts: 1, memory: true });
      const ztunnelMb = (alone.memory[0]?.resident ?? NaN) / MB;
      points.push({ ...report, workloads, proxies, ztunnelMb });
    } catch (error) {
      failures.push({ question: `${workloads} workloads`, error: describeError(error) });
    }
    onOutcome(outcome());
  }
  return outcome();
}

/** One for each node. */
export function proxiesFor(workloads: number): number {
  return Math.min(MAX_PROXIES, Math.ceil(workloads / PODS_PER_NODE));
}

function rowsOf(point: ScalePoint): Row[] {
  const { workloads, proxies } = point;
  const row = (title: string, unit: string, ours: readonly number[]): Row => {
    const metric = `${workloads} workloads, ${proxies} proxies: ${title}`;
    return makeRow({ metric, unit, better: 'lower', ours });
  };
  return [
    row('control plane reads its files', 'ms', [point.startMs]),
    row('control plane, resident', 'MB', [point.controlMb]),
    row('ztunnel, resident', 'MB', [point.ztunnelMb]),
    row('a proxy has its first configuration', 'ms', point.firstMs),
    row('all proxies have it', 'ms', [point.allFirstMs]),
    row('sent to a proxy that comes', 'kB', [point.firstBytes / 1000]),
    row('a change at the last proxy', 'ms', point.changeMs),
    row('a change at the last proxy, p99', 'ms', [quantile(point.changeMs, 0.99)]),
    row('processor time of a change', 'ms', [point.changeCpuMs]),
    row('sent to all for a change', 'kB', [point.changeBytes / 1000]),
  ];
}
