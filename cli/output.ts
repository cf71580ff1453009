import { stringify } from 'yaml';
import type { Terminal } from './terminal.ts';

/** Prints `value` for a program when a format was asked for, else the text for people. */
export function printResult(
  terminal: Terminal,
  format: string | undefined,
  value: unknown,
  forPeople: () => string,
): void {
  switch (format) {
    case 'json':
      terminal.out(`${JSON.stringify(value, null, 2)}\n`);
      return;
    case 'yaml':
      terminal.out(stringify(value, { lineWidth: 0 }));
      return;
    default:
      terminal.out(forPeople());
  }
}
