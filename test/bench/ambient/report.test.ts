import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { chartsOf, drawSvg, latencyCurve } from '../../../bench/ambient/charts.ts';
import { PLANS } from '../../../bench/ambient/plans.ts';
import { formatReport, writeReport } from '../../../bench/ambient/report.ts';
import { rowsOf, type ModeSample } from '../../../bench/ambient/rows.ts';
import type { AmbientResults } from '../../../bench/ambient/results.ts';
import { TemporaryFolder } from '../../support/temporary-folder.ts';
import { sample } from './support/samples.ts';

const latencies = [
  [100, 90],
  [1000, 10],
] as const;
const samples = [
  sample('none', 0, { p99Us: 100, podStartMs: 50 }, 100, latencies),
  sample('ambient', 0, { p99Us: 150, memoryMb: 200, podStartMs: 80, processes: 2 }, 100, latencies),
  sample('sidecar-envoy', 0, { p99Us: 300, memoryMb: 2048, podStartMs: 500 }, 100, latencies),
];

function results(of: readonly ModeSample[], more: Partial<AmbientResults> = {}): AmbientResults {
  return {
    ...{ benchmark: 'ambient', startedAt: '2026-01-02T03:04:05.000Z', quiet: true },
    environment: {
      ...{ cpu: 'a processor', cpus: 2, memoryGiB: 4, kernel: '6', system: 's', node: 'v26' },
      congestionControl: 'cubic',
      ...{ openssl: '3', commit: 'abc', versions: { envoy: '1.40.0' } },
    },
    settings: { ...PLANS.standard },
    ...{ samples: of, rows: rowsOf(of, true), failures: [] },
    ...more,
  };
}

test('the report puts every mode beside none, against sidecars and against what is published', (t) => {
  const text = formatReport(results(samples), 'x');
  t.regex(text, /^\|  \| none \| ambient \| sidecar-envoy \|$/m);
  t.regex(text, /^\| p99 above none, us \| \(100\) \| 50\.0 \| 200 \|$/m);
  t.regex(
    text,
    /^\| ambient: memory of the data plane \| 200 MB \| 2048 \| 0\.10x \| 0\.2x \| 0\.1x \| aim \|$/m,
  );
  t.regex(text, /^\| memory, GB \| 8\.5 \| 2\.1 \| 2\.00 \| 0\.20 \|$/m);
  t.regex(text, /^- `ambient`: 2 proxy processes; encrypts \(TLS_AES_128_GCM_SHA256\)/m);
  t.regex(text, /^\| envoy \| 1\.40\.0 \|$/m);
  t.notRegex(text, /prove nothing|do(es)? not judge|could be measured/);
});

test('our own engine in a sidecar has a comparison of its own', (t) => {
  const own = sample('sidecar', 0, { p99Us: 400, memoryMb: 150, processes: 100 }, 100, latencies);
  const text = formatReport(results([...samples, own]), 'x');
  const [, compared = ''] = text.split('### Against our own engine in a sidecar\n');
  t.regex(compared, /^\| ambient: memory of the data plane \| 200 MB \| 150 \| 1\.33x .*missed/m);
  t.regex(text, /^- `sidecar`: 100 proxy processes; encrypts/m);
});

test('a report says when its machine was busy, its goals were not judged, or something is missing', (t) => {
  const failures = [{ question: 'ambient', error: 'requests failed' }];
  const text = formatReport(
    results(samples, { quiet: false, settings: { ...PLANS.quick }, failures }),
    'x',
  );
  t.regex(text, /The machine was busy: these figures prove nothing/);
  t.regex(text, /this run does not judge them/);
  t.regex(text, /Not everything could be measured:\*\*\n\n- ambient: requests failed\n/);
});

test('a goal that is missed is called so', (t) => {
  const slow = samples.map((one) =>
    one.mode === 'ambient' ? { ...one, values: { ...one.values, memoryMb: 1000 } } : one,
  );
  t.regex(formatReport(results(slow), 'x'), /memory of the data plane .* \*\*missed\*\* \|$/m);
});

test('a latency curve goes through the quantiles of all repetitions, and ends where there are no more', (t) => {
  const more = [...samples, sample('ambient', 1, {}, 100, [[5000, 1]])];
  const curve = latencyCurve(more, 'ambient');
  const at = (oneIn: number): number =>
    curve.find((point) => Math.abs(point.oneIn - oneIn) < 1e-6)?.us ?? NaN;
  t.true(Math.abs(at(1) - 100) < 3);
  t.true(Math.abs(at(100) - 1000) < 20, `${at(100)}`);
  t.true(Math.max(...curve.map(({ oneIn }) => oneIn)) <= 101);
  t.deepEqual(latencyCurve(more, 'ambient+10%'), []);
});

test('figures are SVG that names each mode, and the report links those that it wrote', async (t) => {
  using folder = new TemporaryFolder();
  const path = await writeReport(join(folder.path, 'run.json'), results(samples));
  const linked = [...readFileSync(path, 'utf8').matchAll(/\]\((\S+\.svg)\)/g)].map(([, to]) => to);
  const svgs = readdirSync(folder.path).filter((name) => name.endsWith('.svg'));
  t.deepEqual(linked.toSorted(), svgs.toSorted());
  t.is(svgs.length, 5);
  const podStart = chartsOf(samples, 100).find(({ name }) => name === 'pod-start-100');
  if (podStart === undefined) throw new Error('no figure');
  const svg = await drawSvg(podStart.spec);
  t.regex(svg, /^<svg /);
  for (const mode of ['none', 'ambient', 'sidecar-envoy']) t.true(svg.includes(`>${mode}<`), mode);
});
