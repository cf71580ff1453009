import { paint, printable, type Style, type Terminal } from './terminal.ts';

/** A cell: its text, or its text with what it means. */
export type Cell = string | number | Readonly<{ text: string; style: Style }>;

/**
 * Columns as wide as their widest cell, two spaces apart, headings first; nothing after the last column.
 * Text from outside is made printable.
 */
export function formatTable(
  terminal: Terminal,
  headings: readonly string[],
  rows: readonly (readonly Cell[])[],
): string {
  const texts = rows.map((row) => headings.map((_, column) => cellText(row[column] ?? '')));
  const widths = headings.map((heading, column) =>
    Math.max(heading.length, ...texts.map((row) => (row[column] ?? '').length)),
  );
  const line = (cells: readonly string[], styles: readonly (Style | undefined)[]): string =>
    cells
      .map((text, column) => {
        const last = column === headings.length - 1;
        const padding = last ? '' : ' '.repeat((widths[column] ?? 0) - text.length + 2);
        const style = styles[column];
        return (style === undefined ? text : paint(terminal, style, text)) + padding;
      })
      .join('')
      .trimEnd();
  const lines = [
    line(
      headings,
      headings.map(() => 'bold'),
    ),
    ...rows.map((row, index) =>
      line(
        texts[index] ?? [],
        row.map((cell) => (typeof cell === 'object' ? cell.style : undefined)),
      ),
    ),
  ];
  return `${lines.join('\n')}\n`;
}

function cellText(cell: Cell): string {
  if (typeof cell === 'number') return String(cell);
  const text = typeof cell === 'string' ? cell : cell.text;
  return text === '' ? '-' : printable(text).replace(/[\n\t]+/g, ' ');
}
