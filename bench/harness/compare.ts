import type { Results } from './results.ts';
import type { Row } from './rows.ts';
import { mannWhitney, median } from './statistics.ts';
import { formatColumns, formatValue } from './table.ts';

/** A difference that chance makes once in twenty runs, or less often, counts. */
const SIGNIFICANT = 0.05;
/** Fewer rounds cannot reach it: with 3 and 3 the smallest p is 0.1. */
const MIN_ROUNDS = 4;

export type Change = Readonly<{
  metric: string;
  unit: string;
  before: number;
  after: number;
  /** after / before. */
  ratio: number;
  /** Of the Mann-Whitney test over the rounds. */
  p: number;
  verdict: 'better' | 'worse' | 'same' | 'too few rounds';
}>;

/**
 * What differs between two runs, beyond what the rounds of each differ among themselves. Rows with a peer are compared
 * by their ratio to it, round by round: that is what a slower or busier machine leaves as it is.
 */
export function compareRuns(before: Results, after: Results): readonly Change[] {
  const earlier = new Map(before.rows.map((row) => [row.metric, row]));
  return after.rows.flatMap((row) => {
    const other = earlier.get(row.metric);
    return other === undefined ? [] : [compareRows(other, row)];
  });
}

/** A line for each row, then what could not be compared. */
export function formatChanges(changes: readonly Change[]): string {
  const head = ['metric', 'before', 'after', 'change', 'p', ''];
  const lines = changes.map(({ metric, unit, before, after, ratio, p, verdict }) => [
    metric,
    `${formatValue(before)} ${unit}`,
    `${formatValue(after)} ${unit}`,
    `${ratio >= 1 ? '+' : ''}${((ratio - 1) * 100).toFixed(1)} %`,
    p.toFixed(3),
    verdict,
  ]);
  return formatColumns([head, ...lines], new Set([1, 2, 3, 4]));
}

function compareRows(before: Row, after: Row): Change {
  const asRatio = before.peerName !== null && before.peerName === after.peerName;
  const [a, b] = [roundsOf(before, asRatio), roundsOf(after, asRatio)];
  const p = mannWhitney(a, b);
  const [from, to] = [median(a), median(b)];
  return {
    metric: after.metric,
    unit: asRatio ? `x ${after.peerName}` : after.unit,
    before: from,
    after: to,
    ratio: from === 0 ? (to === 0 ? 1 : Infinity) : to / from,
    p,
    verdict: judge(a, b, p, after),
  };
}

function judge(a: readonly number[], b: readonly number[], p: number, row: Row): Change['verdict'] {
  if (Math.min(a.length, b.length) < MIN_ROUNDS) return 'too few rounds';
  if (p >= SIGNIFICANT) return 'same';
  return median(b) > median(a) === (row.better === 'higher') ? 'better' : 'worse';
}

function roundsOf(row: Row, asRatio: boolean): readonly number[] {
  const { ours, peer } = row.rounds;
  return asRatio ? ours.map((value, round) => value / (peer[round] ?? NaN)) : ours;
}
