import { median, spread } from './statistics.ts';

/** `higher`: more is better. */
export type Better = 'higher' | 'lower';

/** One line of a benchmark's result, the shape of all benchmarks here. */
export type Row = Readonly<{
  /** What was measured; a budget's rows begin with its name, such as `perf-L1`. Unique within a run. */
  metric: string;
  unit: string;
  /** Medians of the rounds. `peer` is null where the budget is absolute. */
  ours: number;
  peer: number | null;
  peerName: string | null;
  /** ours / peer; null without a peer. */
  ratio: number | null;
  /** The budget: of the ratio where there is a peer, of our own value where there is none. Null: not budgeted. */
  must: number | null;
  aim: number | null;
  meetsMust: boolean | null;
  better: Better;
  /** Half the distance between the quartiles of our rounds, as a part of the median. */
  spread: number;
  /** Every round, for comparing runs. */
  rounds: Readonly<{ ours: readonly number[]; peer: readonly number[] }>;
}>;

export type Budget = Readonly<{ must: number; aim: number }>;

export type RowParts = Readonly<{
  metric: string;
  unit: string;
  better: Better;
  ours: readonly number[];
  peer?: Readonly<{ name: string; values: readonly number[] }> | undefined;
  budget?: Budget;
}>;

/** Makes a row of what the rounds gave. */
export function makeRow({ metric, unit, better, ours, peer, budget }: RowParts): Row {
  const value = median(ours);
  const peerValue = peer === undefined ? null : median(peer.values);
  // A difference that is not above nothing has no ratio that would mean anything.
  const ratio = peerValue === null ? null : peerValue > 0 ? value / peerValue : NaN;
  const judged = peer === undefined ? value : (ratio ?? NaN);
  return {
    metric,
    unit,
    ours: value,
    peer: peerValue,
    peerName: peer?.name ?? null,
    ratio,
    must: budget?.must ?? null,
    aim: budget?.aim ?? null,
    meetsMust: budget === undefined ? null : meets(judged, budget.must, better),
    better,
    spread: spread(ours),
    rounds: { ours, peer: peer?.values ?? [] },
  };
}

/** Whether a row is as good as its aim; null where it has none. */
export function meetsAim(row: Row): boolean | null {
  if (row.aim === null) return null;
  return meets(row.peerName === null ? row.ours : (row.ratio ?? NaN), row.aim, row.better);
}

/** What is no number (nothing could be measured) meets nothing. */
function meets(value: number, wanted: number, better: Better): boolean {
  return better === 'higher' ? value >= wanted : value <= wanted;
}

/** Of several peers the one to be compared with: the best one. */
export function bestPeer(
  peers: readonly Readonly<{ name: string; values: readonly number[] }>[],
  better: Better,
): Readonly<{ name: string; values: readonly number[] }> | undefined {
  const sign = better === 'higher' ? -1 : 1;
  return peers
    .filter(({ values }) => values.length > 0)
    .toSorted((a, b) => sign * (median(a.values) - median(b.values)))[0];
}
