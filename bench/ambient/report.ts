import { mkdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Environment } from '../harness/environment.ts';
import { meetsAim, type Row } from '../harness/rows.ts';
import { median, spread } from '../harness/statistics.ts';
import { formatValue } from '../harness/table.ts';
import { makeCallGraph, shareOfCalls } from './call-graph.ts';
import { REPLICAS, SENDERS } from './application.ts';
import { chartsOf, drawSvg } from './charts.ts';
import { MODES, waypointedServices, type ModeName } from './modes.ts';
import { metricsOf, valuesOf, type ModeSample } from './rows.ts';
import type { AmbientResults } from './results.ts';

/**
 * What is told about sidecars and ambient mode elsewhere, for 100 pods and 1,000 requests a second; of which data planes,
 * by which method and on which machines is not told with it.
 */
const PUBLISHED = [
  { what: 'memory, GB', sidecar: 8.5, ambient: 2.1, value: 'memoryMb', scale: 1 / 1024 },
  { what: 'pod start, s', sidecar: 15, ambient: 5, value: 'podStartMs', scale: 1 / 1000 },
  { what: 'p99, ms', sidecar: 45, ambient: 38, value: 'p99Us', scale: 1 / 1000 },
  // Microseconds of a call, a thousand calls a second: thousandths of a processor.
  { what: 'CPU, %', sidecar: 45, ambient: 32, value: 'cpuUsPerCall', scale: 1 / 10 },
] as const;

/** Writes the report beside the results. @returns the path of its text. */
export async function writeReport(resultsPath: string, results: AmbientResults): Promise<string> {
  const folder = dirname(resultsPath);
  const prefix = basename(resultsPath, '.json');
  mkdirSync(folder, { recursive: true });
  for (const pods of sizesOf(results.samples))
    for (const { name, spec } of chartsOf(results.samples, pods))
      writeFileSync(join(folder, `${prefix}-${name}.svg`), await drawSvg(spec));
  const path = join(folder, `${prefix}.md`);
  writeFileSync(path, formatReport(results, prefix));
  return path;
}

/** The report as Markdown. @param prefix of the names of its figures' files. */
export function formatReport(results: AmbientResults, prefix: string): string {
  const { samples, rows, failures, environment, quiet, startedAt } = results;
  const plan = results.settings;
  return [
    '# One application, with and without a mesh',
    '',
    `${startedAt.slice(0, 10)}, plan "${plan.name}": ${plan.measure.load.callsPerSecond} calls a second between pods in all, ` +
      `${plan.repetitions} interleaved repetition${plan.repetitions === 1 ? '' : 's'} of ` +
      `${plan.measure.load.seconds} s, ${plan.nodes} nodes. Values are medians; ± is half the distance of the quartiles.`,
    '',
    ...(quiet
      ? []
      : [
          '**The machine was busy: these figures prove nothing.** Run it again on a quiet one.',
          '',
        ]),
    ...(plan.judges ? [] : ['The goals are about 100 pods; this run does not judge them.', '']),
    ...(failures.length > 0
      ? [
          '**Not everything could be measured:**',
          '',
          ...failures.map(({ question, error }) => `- ${question}: ${error}`),
          '',
        ]
      : []),
    ...sizesOf(samples).flatMap((pods) => formatSize(samples, rows, pods, prefix)),
    ...formatEnvironment(environment),
    'Method, how to run it again, and what these figures do not show: bench/README.md.',
    '',
  ].join('\n');
}

function formatSize(
  samples: readonly ModeSample[],
  rows: readonly Row[],
  pods: number,
  prefix: string,
): string[] {
  const ofSize = samples.filter((sample) => sample.pods === pods);
  const modes = [...new Set(ofSize.map(({ mode }) => mode))];
  return [
    `## ${pods} pods`,
    '',
    ...formatModes(ofSize, modes, pods),
    ...formatTable(
      ['', ...modes],
      metricsOf(ofSize).map(({ title, unit, value, aboveNone }) => [
        `${title}, ${unit}`,
        ...modes.map((mode) =>
          aboveNone === true && mode === 'none'
            ? `(${formatMedian(valuesOf(ofSize, mode, value))})`
            : formatMedian(valuesOf(ofSize, mode, value, aboveNone)),
        ),
      ]),
    ),
    'In parentheses: the value without a mesh, above which the others are told.',
    '',
    ...chartsOf(ofSize, pods).map(({ name, title }) => `![${title}](${prefix}-${name}.svg)`),
    '',
    ...formatRatios(rows, pods),
    ...formatPublished(ofSize, pods),
  ];
}

function formatModes(
  samples: readonly ModeSample[],
  modes: readonly ModeName[],
  pods: number,
): string[] {
  const graph = makeCallGraph((pods - SENDERS) / REPLICAS);
  const lines = MODES.filter(({ name }) => modes.includes(name)).map((mode) => {
    const own = samples.filter((sample) => sample.mode === mode.name);
    const security = own[0]?.security;
    const waypointed = waypointedServices(mode, graph);
    const l7 =
      waypointed.length === 0
        ? ''
        : `, ${waypointed.length} of ${graph.services.length} services behind a waypoint ` +
          `(${formatPercent(shareOfCalls(graph, waypointed))} of the calls)`;
    const seen =
      security?.encrypts === true
        ? `encrypts (${security.ciphers.join(', ')}) and authorises, as was seen`
        : 'plain text, everybody may call, as was seen';
    const processes = median(own.map(({ values }) => values['processes'] ?? NaN));
    return `- \`${mode.name}\`: ${Math.round(processes)} proxy processes${l7}; ${seen}`;
  });
  return [...lines, ''];
}

/** Whom rows are compared with, by what the report calls them. */
const COMPARED: readonly Readonly<{ peer: ModeName; title: string }>[] = [
  { peer: 'sidecar-envoy', title: 'Against Envoy sidecars' },
  { peer: 'sidecar', title: 'Against our own engine in a sidecar' },
];

function formatRatios(rows: readonly Row[], pods: number): string[] {
  return COMPARED.flatMap(({ peer, title }) => {
    const compared = rows.filter(
      ({ metric, peerName }) => metric.includes(`, ${pods} pods: `) && peerName === peer,
    );
    if (compared.length === 0) return [];
    return [
      `### ${title}`,
      '',
      ...formatTable(
        ['', 'ours', peer, 'ratio', 'must', 'aim', ''],
        compared.map((row) => [
          row.metric.replace(` against ${peer}`, '').replace(`, ${pods} pods`, ''),
          `${formatValue(row.ours)} ${row.unit}`,
          formatValue(row.peer ?? NaN),
          `${formatValue(row.ratio ?? NaN)}x`,
          row.must === null ? '' : `${row.must}x`,
          row.aim === null ? '' : `${row.aim}x`,
          verdict(row),
        ]),
      ),
    ];
  });
}

function formatPublished(samples: readonly ModeSample[], pods: number): string[] {
  const of = (mode: ModeName, value: string, scale: number): string =>
    formatValue(median(valuesOf(samples, mode, value)) * scale);
  return [
    '### Beside what is published',
    '',
    `The published table is about 100 pods and 1,000 requests a second; the figures of this run are about ${pods} pods.`,
    '',
    ...formatTable(
      ['', 'published: sidecar', 'published: ambient', 'here: sidecar-envoy', 'here: ambient'],
      PUBLISHED.map(({ what, sidecar, ambient, value, scale }) => [
        what,
        String(sidecar),
        String(ambient),
        of('sidecar-envoy', value, scale),
        of('ambient', value, scale),
      ]),
    ),
  ];
}

function formatEnvironment(environment: Environment): string[] {
  const { versions, ...machine } = environment;
  return [
    '## Environment',
    '',
    ...formatTable(
      ['', ''],
      [...Object.entries(machine), ...Object.entries(versions)].map(([name, value]) => [
        name,
        String(value),
      ]),
    ),
  ];
}

/** A table, and an empty line after it. */
function formatTable(head: readonly string[], lines: readonly (readonly string[])[]): string[] {
  const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const rule = head.map((_, column) => (column === 0 ? '---' : '---:'));
  return [row(head), row(rule), ...lines.map(row), ''];
}

function formatMedian(values: readonly number[]): string {
  const known = values.filter(Number.isFinite);
  if (known.length === 0) return '-';
  const middle = median(known);
  const around = known.length > 1 ? ` ± ${formatPercent(spread(known))}` : '';
  return `${formatValue(middle)}${around}`;
}

function formatPercent(part: number): string {
  return `${(part * 100).toFixed(0)} %`;
}

function verdict(row: Row): string {
  if (row.meetsMust === null) return '';
  if (!row.meetsMust) return '**missed**';
  return meetsAim(row) === true ? 'aim' : 'must';
}

function sizesOf(samples: readonly ModeSample[]): readonly number[] {
  return [...new Set(samples.map(({ pods }) => pods))].sort((a, b) => a - b);
}
