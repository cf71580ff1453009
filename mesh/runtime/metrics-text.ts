import type { FamilySnapshot, MetricsSnapshot } from './metrics.ts';

export type MetricsFormat = 'prometheus' | 'openmetrics';

export const METRICS_CONTENT_TYPES: Readonly<Record<MetricsFormat, string>> = {
  prometheus: 'text/plain; version=0.0.4; charset=utf-8',
  openmetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
};

/** OpenMetrics where the client's Accept header names it, as Prometheus itself does. */
export function metricsFormatFor(accept: string | undefined): MetricsFormat {
  return accept?.includes('application/openmetrics-text') === true ? 'openmetrics' : 'prometheus';
}

/** One picture from those of all threads; families are those of the first that has them. */
export function mergeSnapshots(snapshots: readonly MetricsSnapshot[]): MetricsSnapshot {
  const families = new Map<string, FamilySnapshot[]>();
  for (const family of snapshots.flat()) {
    const same = families.get(family.name);
    if (same === undefined) families.set(family.name, [family]);
    else same.push(family);
  }
  return [...families.values()].map(mergeFamily);
}

/** The text of a scrape. */
export function formatMetrics(snapshot: MetricsSnapshot, format: MetricsFormat): string {
  const parts = snapshot.map((family) => formatFamily(family, format));
  return parts.join('') + (format === 'openmetrics' ? '# EOF\n' : '');
}

function mergeFamily(same: readonly FamilySnapshot[]): FamilySnapshot {
  const [first] = same;
  if (first === undefined || same.length === 1) return first ?? EMPTY;
  const keyOf = (labels: readonly string[]): string => JSON.stringify(labels);
  if (first.kind === 'histogram') {
    const merged = new Map<string, (typeof first.series)[number]>();
    for (const family of same) {
      if (family.kind !== 'histogram') continue;
      for (const { labels, counts, sum } of family.series) {
        const sofar = merged.get(keyOf(labels));
        const added = counts.map((count, index) => count + (sofar?.counts[index] ?? 0));
        merged.set(keyOf(labels), { labels, counts: added, sum: sum + (sofar?.sum ?? 0) });
      }
    }
    return { ...first, series: [...merged.values()] };
  }
  const merged = new Map<string, (typeof first.series)[number]>();
  for (const family of same) {
    if (family.kind === 'histogram') continue;
    for (const { labels, value } of family.series) {
      const sofar = merged.get(keyOf(labels))?.value;
      const joined = first.merge === 'max' ? Math.max(sofar ?? value, value) : (sofar ?? 0) + value;
      merged.set(keyOf(labels), { labels, value: joined });
    }
  }
  return { ...first, series: [...merged.values()] };
}

const EMPTY: FamilySnapshot = {
  ...{ name: '', help: '', labelNames: [], merge: 'sum', kind: 'gauge', series: [] },
};

function formatFamily(family: FamilySnapshot, format: MetricsFormat): string {
  const { name, labelNames, kind } = family;
  // OpenMetrics names a counter without the suffix that its sample has.
  const bare = format === 'openmetrics' && kind === 'counter' ? name.replace(/_total$/, '') : name;
  let text = `# HELP ${bare} ${escapeHelp(family.help)}\n# TYPE ${bare} ${kind}\n`;
  if (family.kind !== 'histogram') {
    for (const { labels, value } of family.series)
      text += `${name}${formatLabels(labelNames, labels)} ${formatNumber(value)}\n`;
    return text;
  }
  const bounds = [...family.bounds.map(String), '+Inf'];
  for (const { labels, counts, sum } of family.series) {
    let count = 0;
    bounds.forEach((bound, index) => {
      count += counts[index] ?? 0;
      text += `${name}_bucket${formatLabels([...labelNames, 'le'], [...labels, bound])} ${count}\n`;
    });
    const own = formatLabels(labelNames, labels);
    text += `${name}_sum${own} ${formatNumber(sum)}\n${name}_count${own} ${count}\n`;
  }
  return text;
}

function formatLabels(names: readonly string[], values: readonly string[]): string {
  const pairs: string[] = [];
  names.forEach((name, index) => {
    const value = values[index] ?? '';
    if (value !== '') pairs.push(`${name}="${escapeLabel(value)}"`);
  });
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function formatNumber(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return Number.isNaN(value) ? 'NaN' : value > 0 ? '+Inf' : '-Inf';
}

/** The three escapes of the exposition formats. A lone surrogate would not be UTF-8. */
function escapeLabel(value: string): string {
  return escapeHelp(value).replaceAll('"', '\\"');
}

function escapeHelp(text: string): string {
  return text.toWellFormed().replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}
