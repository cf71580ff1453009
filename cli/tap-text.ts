import { numberAt, textAt } from './object-fields.ts';
import { paint, printable, type Terminal } from './terminal.ts';

/** One request in one line: when, who, what, what became of it, where it went. */
export function formatTapLine(terminal: Terminal, record: unknown): string {
  const status = numberAt(record, 'status');
  const flags = textAt(record, 'flags');
  const outcome = `${status}${flags === '-' || flags === '' ? '' : ` ${flags}`}`;
  const source = textAt(record, 'source');
  const [, namespace, account] = /\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(source) ?? [];
  const who =
    namespace === undefined ? textAt(record, 'sourceAddress') : `${namespace}/${account ?? ''}`;
  const parts = [
    textAt(record, 'time').slice(11, 23),
    who,
    textAt(record, 'method'),
    `${textAt(record, 'authority')}${textAt(record, 'path')}`,
  ];
  const rest = [
    `${numberAt(record, 'durationMs').toFixed(1)}ms`,
    textAt(record, 'endpoint') === ''
      ? textAt(record, 'details')
      : `-> ${textAt(record, 'endpoint')}`,
  ];
  const style = status === 0 || status >= 500 ? 'bad' : status >= 400 ? 'warning' : 'good';
  return `${printable(parts.join(' '))} ${paint(terminal, style, printable(outcome))} ${printable(rest.join(' '))}\n`;
}
