import { meetsAim, type Row } from './rows.ts';

/** The rows for people: a column each, aligned; the last one says what of the budget is met. */
export function formatRows(rows: readonly Row[]): string {
  return formatColumns(rowCells(rows), new Set([1, 2, 4, 5, 6, 7]));
}

/** The same as cells: a line of names, then one for each row. */
export function rowCells(rows: readonly Row[]): string[][] {
  const head = ['metric', 'ours', 'peer', '', 'ratio', 'must', 'aim', 'spread', ''];
  const lines = rows.map((row) => [
    row.metric,
    `${formatValue(row.ours)} ${row.unit}`,
    row.peer === null ? '' : formatValue(row.peer),
    row.peerName ?? '',
    row.ratio === null ? '' : `${formatValue(row.ratio)}x`,
    formatBudget(row, row.must),
    formatBudget(row, row.aim),
    `${(row.spread * 100).toFixed(1)} %`,
    verdict(row),
  ]);
  return [head, ...lines];
}

/** Lines with each column as wide as its widest cell. @param right columns that are aligned to the right. */
export function formatColumns(
  lines: readonly (readonly string[])[],
  right: ReadonlySet<number>,
): string {
  const widths: number[] = [];
  for (const line of lines)
    line.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, cell.length);
    });
  const pad = (cell: string, column: number): string =>
    right.has(column) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0);
  return lines.map((line) => `${line.map(pad).join('  ').trimEnd()}\n`).join('');
}

/** Three digits that count, without an exponent. */
export function formatValue(value: number): string {
  if (!Number.isFinite(value)) return '-';
  const size = Math.abs(value);
  if (size >= 10_000) return Math.round(value).toLocaleString('en');
  return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function formatBudget(row: Row, value: number | null): string {
  if (value === null) return '';
  return row.peerName === null ? formatValue(value) : `${formatValue(value)}x`;
}

function verdict(row: Row): string {
  if (row.meetsMust === null) return '';
  if (!row.meetsMust) return 'MISSED';
  return meetsAim(row) === true ? 'aim' : 'must';
}
