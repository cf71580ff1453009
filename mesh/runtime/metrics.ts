/** One time series; the data path adds to `value` itself, which costs no more than any field. */
export type MetricCell = { value: number };

export type HistogramCell = {
  /** One count per bucket, not yet cumulative; the last is of what is above all bounds. */
  readonly counts: number[];
  sum: number;
};

export type MetricKind = 'counter' | 'gauge';

/** A family as plain data, which a data thread can post. */
export type FamilySnapshot = Readonly<{
  name: string;
  help: string;
  labelNames: readonly string[];
  /** How the same series of several threads become one. */
  merge: 'sum' | 'max';
}> &
  Readonly<
    | {
        kind: MetricKind;
        series: readonly Readonly<{ labels: readonly string[]; value: number }>[];
      }
    | {
        kind: 'histogram';
        bounds: readonly number[];
        series: readonly Readonly<{
          labels: readonly string[];
          counts: readonly number[];
          sum: number;
        }>[];
      }
  >;

export type MetricsSnapshot = readonly FamilySnapshot[];

/** Series of one family. What comes beyond shares one series, so that no client can fill the memory (M4). */
const MAX_SERIES = 10_000;
/** Characters of a label value; longer ones are cut. Above a SPIFFE id of Kubernetes names (about 400). */
const MAX_LABEL_LENGTH = 512;
const OVERFLOW = 'overflow';

/** Series of one name. Ask once for a cell and keep it; looking one up builds a text of its labels. */
export class MetricFamily<Cell extends object> {
  readonly name: string;
  readonly labelNames: readonly string[];
  readonly #make: () => Cell;
  readonly #cells = new Map<string, { labels: readonly string[]; cell: Cell }>();

  constructor(name: string, labelNames: readonly string[], make: () => Cell) {
    this.name = name;
    this.labelNames = labelNames;
    this.#make = make;
  }

  /** The series of these label values, in the order of the family's names; an empty value is no label. */
  cell(...labels: readonly string[]): Cell {
    const bounded = this.labelNames.map((_, index) => boundLabel(labels[index] ?? ''));
    const key = JSON.stringify(bounded);
    const found = this.#cells.get(key);
    if (found !== undefined) return found.cell;
    if (this.#cells.size >= MAX_SERIES && !bounded.every((value) => value === OVERFLOW))
      return this.cell(...this.labelNames.map(() => OVERFLOW));
    const cell = this.#make();
    this.#cells.set(key, { labels: bounded, cell });
    return cell;
  }

  /** For gauges that are set anew at every scrape. */
  clear(): void {
    this.#cells.clear();
  }

  entries(): { labels: readonly string[]; cell: Cell }[] {
    return [...this.#cells.values()];
  }
}

type FamilyOptions = Readonly<{ labelNames?: readonly string[]; merge?: 'sum' | 'max' }>;

/** The metrics of one thread. */
export class Metrics {
  readonly #families = new Map<string, () => FamilySnapshot>();
  readonly #collectors = new Set<() => void>();

  /** A value that only grows; its name ends in `_total`. */
  counter(name: string, help: string, options: FamilyOptions = {}): MetricFamily<MetricCell> {
    return this.#values('counter', name, help, options);
  }

  gauge(name: string, help: string, options: FamilyOptions = {}): MetricFamily<MetricCell> {
    return this.#values('gauge', name, help, options);
  }

  /** @param bounds upper bounds, rising. */
  histogram(
    name: string,
    help: string,
    bounds: readonly number[],
    options: FamilyOptions = {},
  ): MetricFamily<HistogramCell> {
    const { labelNames = [] } = options;
    const make = (): HistogramCell => ({ counts: [...bounds, Infinity].map(() => 0), sum: 0 });
    const family = new MetricFamily(name, labelNames, make);
    this.#add(name, () => ({
      ...{ name, help, labelNames, merge: 'sum', kind: 'histogram', bounds },
      series: family.entries().map(({ labels, cell }) => ({ labels, ...cell })),
    }));
    return family;
  }

  /** Runs before every snapshot, to set gauges that are only worth counting then. */
  onCollect(run: () => void): Disposable {
    this.#collectors.add(run);
    return { [Symbol.dispose]: () => void this.#collectors.delete(run) };
  }

  snapshot(): MetricsSnapshot {
    for (const collect of this.#collectors) collect();
    return [...this.#families.values()].map((take) => take());
  }

  #values(
    kind: MetricKind,
    name: string,
    help: string,
    { labelNames = [], merge = 'sum' }: FamilyOptions,
  ): MetricFamily<MetricCell> {
    const family = new MetricFamily<MetricCell>(name, labelNames, () => ({ value: 0 }));
    this.#add(name, () => ({
      ...{ name, help, labelNames, merge, kind },
      series: family.entries().map(({ labels, cell }) => ({ labels, value: cell.value })),
    }));
    return family;
  }

  #add(name: string, take: () => FamilySnapshot): void {
    if (this.#families.has(name)) throw new Error(`Cannot add metric ${name}: it exists`);
    this.#families.set(name, take);
  }
}

/** Counts `value` in a histogram whose bounds are `bounds`. */
export function observe(cell: HistogramCell, bounds: readonly number[], value: number): void {
  let bucket = 0;
  while (bucket < bounds.length && value > (bounds[bucket] ?? Infinity)) bucket++;
  cell.counts[bucket] = (cell.counts[bucket] ?? 0) + 1;
  cell.sum += value;
}

function boundLabel(value: string): string {
  return value.length <= MAX_LABEL_LENGTH ? value : value.slice(0, MAX_LABEL_LENGTH);
}
