export type Labels = Readonly<Record<string, string>>;

type Sample = Readonly<{ name: string; labels: ReadonlyMap<string, string>; value: number }>;

/** What a program's /metrics said at one time. */
export class Metrics {
  readonly #samples: readonly Sample[];

  constructor(text: string) {
    this.#samples = text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map(parseSample);
  }

  /** The sum of all samples of that name that have these labels; 0 when there is none. */
  sum(name: string, labels: Labels = {}): number {
    return this.#samples
      .filter((sample) => sample.name === name && hasLabels(sample, labels))
      .reduce((sum, { value }) => sum + value, 0);
  }

  /** By how much a sum has grown since an earlier look. */
  growth(since: Metrics, name: string, labels: Labels = {}): number {
    return this.sum(name, labels) - since.sum(name, labels);
  }
}

/** `name{label="value",...} value`, as the text format of Prometheus has it. */
function parseSample(line: string): Sample {
  const [, name = '', labelText = '', value = ''] =
    /^([\w:]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
  if (name === '') throw new Error(`no line of metrics: ${line}`);
  const labels = [...labelText.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(
    ([, key = '', text = '']): [string, string] => [key, text.replaceAll(/\\(.)/g, '$1')],
  );
  return { name, labels: new Map(labels), value: Number(value) };
}

function hasLabels({ labels }: Sample, wanted: Labels): boolean {
  return Object.entries(wanted).every(([key, value]) => labels.get(key) === value);
}
