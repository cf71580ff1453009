import { parse, View, type Spec } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import { Histogram } from '../harness/histogram.ts';
import { median, quantile } from '../harness/statistics.ts';
import type { ModeName } from './modes.ts';
import { valuesOf, type ModeSample } from './rows.ts';

/** A figure of the report. */
export type Chart = Readonly<{
  /** Of its file, without the extension. */
  name: string;
  title: string;
  spec: TopLevelSpec;
}>;

const BARS = [
  { name: 'memory', value: 'memoryMb', title: 'Memory of the data plane, MB' },
  { name: 'cpu', value: 'cpuUsPerCall', title: 'Processor time of a call, us' },
  { name: 'pod-start', value: 'podStartMs', title: 'Pod created to first request served, ms' },
  { name: 'change', value: 'changeMs', title: 'A change of policy in force everywhere, ms' },
] as const;
/** Where the curve of latencies is drawn: 1 - 1/x for x from 1 to 10,000, evenly on its logarithm. */
const CURVE_POINTS = 81;
const CURVE_DECADES = 4;

/** The figures of one size, in the order of the report. */
export function chartsOf(samples: readonly ModeSample[], pods: number): readonly Chart[] {
  const ofSize = samples.filter((sample) => sample.pods === pods);
  const modes = [...new Set(ofSize.map(({ mode }) => mode))];
  const bars = BARS.map(({ name, value, title }) => ({
    ...{ name: `${name}-${pods}`, title },
    spec: barSpec(title, barData(ofSize, modes, value)),
  }));
  const title = 'Latency of a request through three services, us';
  const latency = { name: `latency-${pods}`, title, spec: latencySpec(title, ofSize, modes) };
  return [...bars, latency];
}

/** Draws it, without a browser. */
export async function drawSvg(spec: TopLevelSpec): Promise<string> {
  const compiled: Spec = compile(spec).spec;
  const view = new View(parse(compiled), { renderer: 'none' });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}

type Bar = Readonly<{ mode: ModeName; value: number; low: number; high: number }>;

/** Medians, with the quartiles of the repetitions as their spread; what a mode has nothing of is left out. */
function barData(
  samples: readonly ModeSample[],
  modes: readonly ModeName[],
  value: string,
): readonly Bar[] {
  return modes.flatMap((mode) => {
    const values = valuesOf(samples, mode, value).filter(Number.isFinite);
    if (values.length === 0) return [];
    const [low, high] = [quantile(values, 0.25), quantile(values, 0.75)];
    return [{ mode, value: median(values), low, high }];
  });
}

function barSpec(title: string, values: readonly Bar[]): TopLevelSpec {
  const x = { field: 'mode', type: 'nominal', sort: null, title: null, axis: { labelAngle: 0 } };
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    ...{ title, width: 480, height: 260, background: 'white' },
    data: { values: values.map((bar) => ({ ...bar })) },
    encoding: { x },
    layer: [
      {
        mark: { type: 'bar', color: '#4c78a8' },
        encoding: { y: { field: 'value', type: 'quantitative', title: null } },
      },
      {
        mark: { type: 'rule' },
        encoding: {
          y: { field: 'low', type: 'quantitative' },
          y2: { field: 'high' },
        },
      },
      {
        mark: { type: 'text', dy: -8 },
        encoding: {
          y: { field: 'value', type: 'quantitative' },
          text: { field: 'value', type: 'quantitative', format: '.3~s' },
        },
      },
    ],
  } as TopLevelSpec;
}

function latencySpec(
  title: string,
  samples: readonly ModeSample[],
  modes: readonly ModeName[],
): TopLevelSpec {
  const values = modes.flatMap((mode) => latencyCurve(samples, mode));
  const ticks = { values: [1, 2, 10, 100, 1000, 10_000] };
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v6.json',
    ...{ title, width: 480, height: 300, background: 'white', data: { values } },
    mark: { type: 'line' },
    encoding: {
      x: {
        ...{ field: 'oneIn', type: 'quantitative', scale: { type: 'log' }, axis: ticks },
        title: 'all but one of so many requests are faster (100: p99)',
      },
      y: { field: 'us', type: 'quantitative', scale: { type: 'log' }, title: null },
      color: { field: 'mode', type: 'nominal', sort: null, title: null },
    },
  };
}

/** Latencies of all repetitions together, by how rare they are. */
export function latencyCurve(
  samples: readonly ModeSample[],
  mode: ModeName,
): { mode: ModeName; oneIn: number; us: number }[] {
  const all = new Histogram();
  for (const { histogram } of samples.filter((sample) => sample.mode === mode))
    for (const [us, count] of histogram) all.record(us, count);
  return Array.from({ length: CURVE_POINTS }, (_, index) => {
    const oneIn = 10 ** ((index * CURVE_DECADES) / (CURVE_POINTS - 1));
    return { mode, oneIn, us: all.quantile(1 - 1 / oneIn) };
  }).filter(({ oneIn, us }) => us > 0 && oneIn <= all.count);
}
