import test from 'ava';
import { formatAge } from '../../cli/age.ts';
import { formatTable } from '../../cli/table.ts';
import { printable, type Terminal } from '../../cli/terminal.ts';

function terminal(colours: boolean): Terminal {
  return {
    out: () => undefined,
    note: () => undefined,
    interactive: false,
    colours,
    signal: new AbortController().signal,
  };
}

test('formatTable() aligns columns, and leaves nothing after the last one', (t) => {
  const rows = [
    ['web', { text: 'Running', style: 'good' } as const, 12],
    ['a-longer-name', '', 0],
  ];
  t.is(
    formatTable(terminal(false), ['NAME', 'STATUS', 'RESTARTS'], rows),
    [
      'NAME           STATUS   RESTARTS',
      'web            Running  12',
      'a-longer-name  -        0',
      '',
    ].join('\n'),
  );
});

test('formatTable() colours only what it was told, without moving columns', (t) => {
  const rows = [[{ text: 'ok', style: 'good' } as const, 'x']];
  const text = formatTable(terminal(true), ['AAAA', 'B'], rows);
  t.is(text.split('\n')[1], '\u001b[32mok\u001b[0m    x');
});

test('formatTable() lets no escape sequence or line break of a name through', (t) => {
  const text = formatTable(terminal(true), ['NAME'], [['a\u001b[2Jb\nc\u202e']]);
  t.is(text.split('\n')[1], String.raw`a\u001b[2Jb c\u202e`);
});

test('printable() keeps lines, tabs and other alphabets', (t) => {
  const text = 'a\tb\nžluťoučký 日本';
  t.is(printable(text), text);
  t.is(printable('\r\u0007\u009b'), String.raw`\u000d\u0007\u009b`);
});

const ages = test.macro({
  exec(t, ageMs: number, expected: string) {
    t.is(formatAge(ageMs), expected);
  },
  title: (_, ageMs: number, expected: string) => `formatAge() of ${ageMs} ms is ${expected}`,
});

test(ages, 0, '0s');
test(ages, 250, '250ms');
test(ages, 59_000, '59s');
test(ages, 61_000, '1m1s');
test(ages, 3_600_000, '1h');
test(ages, 90_061_000, '1d1h');
