import test from 'ava';
import { drawSvg } from '../../../bench/ambient/charts.ts';
import { formatGrowth, growth, scaleChart } from '../../../bench/scale/chart.ts';
import { proxiesFor } from '../../../bench/scale/run.ts';
import { runScale, type ScalePoint } from '../../../bench/scale/task.ts';

test('a control plane with simulated nodes is measured over real streams', async (t) => {
  const report = await runScale({ workloads: 150, proxies: 3, changes: 2 });
  t.is(report.firstMs.length, 3);
  t.is(report.changeMs.length, 2);
  const { startMs, controlMb, allFirstMs, firstBytes, changeBytes, changeCpuMs } = report;
  for (const value of [startMs, controlMb, allFirstMs, changeCpuMs, ...report.changeMs])
    t.true(value > 0);
  // 150 workloads and 15 services are some hundred bytes each; a change is one workload, to three.
  t.true(firstBytes > 150 * 50 && firstBytes < 165 * 1000, `${firstBytes}`);
  t.true(changeBytes > 3 * 50 && changeBytes < 3 * 2000, `${changeBytes}`);
});

test('a node is simulated for fifty workloads, up to what one machine can simulate', (t) => {
  t.is(proxiesFor(1000), 20);
  t.is(proxiesFor(1001), 21);
  t.is(proxiesFor(10_000), 200);
  t.is(proxiesFor(100_000), 200);
});

test('growth is the power of the number of workloads', (t) => {
  t.is(growth([1000, 5], [10_000, 5]), 0);
  t.true(Math.abs(growth([1000, 5], [10_000, 50]) - 1) < 1e-9);
  t.true(Math.abs(growth([10, 1], [100, 100]) - 2) < 1e-9);
});

const point = (workloads: number): ScalePoint => ({
  ...{ workloads, proxies: 20, ztunnelMb: 100, startMs: 1, controlMb: workloads / 10 },
  ...{ firstMs: [5], allFirstMs: 9, firstBytes: 1, changeMs: [3], changeCpuMs: 2, changeBytes: 1 },
});

test('each curve is told by the power it grows with from size to size', (t) => {
  const lines = formatGrowth([point(1000), point(3000), point(10_000)]).split('\n');
  t.regex(lines[0] ?? '', / to 3000 +to 10000$/);
  t.true(lines.some((line) => /^control plane, MB +1\.0 +1\.0$/.test(line)));
  t.true(lines.some((line) => /^ztunnel, MB +0\.0 +0\.0$/.test(line)));
});

test('the curve is SVG that names what it shows', async (t) => {
  const svg = await drawSvg(scaleChart([point(1000), point(10_000)]));
  t.regex(svg, /^<svg /);
  t.true(svg.includes('>control plane, MB<'));
});
