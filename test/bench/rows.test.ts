import test from 'ava';
import { bestPeer, makeRow, meetsAim } from '../../bench/harness/rows.ts';
import { formatRows, formatValue } from '../../bench/harness/table.ts';

const bulk = { metric: 'perf-X bulk', unit: 'Gb/s', better: 'higher' } as const;
const peer = { name: 'nginx', values: [4, 5, 6] };
const budget = { must: 1, aim: 1.2 };

test('a row with a peer is judged by the ratio of the medians', (t) => {
  const row = makeRow({ ...bulk, ours: [5, 5.5, 90], peer, budget });
  t.like(row, { ours: 5.5, peer: 5, peerName: 'nginx', must: 1, aim: 1.2, meetsMust: true });
  t.is(row.ratio, 1.1);
  t.false(meetsAim(row));
  t.false(makeRow({ ...bulk, ours: [4.9], peer, budget }).meetsMust);
});

test('a row without a peer is judged by its value', (t) => {
  const plan = { metric: 'start', unit: 'ms', better: 'lower' } as const;
  const row = makeRow({ ...plan, ours: [150], budget: { must: 500, aim: 200 } });
  t.like(row, { peer: null, ratio: null, meetsMust: true });
  t.true(meetsAim(row));
  t.false(makeRow({ ...plan, ours: [501], budget: { must: 500, aim: 200 } }).meetsMust);
});

test('what could not be measured meets no budget', (t) => {
  t.false(makeRow({ ...bulk, ours: [], peer, budget }).meetsMust);
  const lower = { metric: 'added', unit: 'us', better: 'lower' } as const;
  const nothing = { name: 'nginx', values: [-3] };
  t.false(makeRow({ ...lower, ours: [-9], peer: nothing, budget }).meetsMust);
});

test('a row without a budget is not judged', (t) => {
  t.like(makeRow({ ...bulk, ours: [1] }), { must: null, aim: null, meetsMust: null });
});

test('the best of several peers is compared with', (t) => {
  const [low, high] = [
    { name: 'a', values: [1, 9, 1] },
    { name: 'b', values: [2, 2, 2] },
  ];
  t.is(bestPeer([low, high], 'higher')?.name, 'b');
  t.is(bestPeer([low, high], 'lower')?.name, 'a');
  t.is(bestPeer([{ name: 'c', values: [] }], 'lower'), undefined);
});

test('the table says what is missed', (t) => {
  const text = formatRows([
    makeRow({ ...bulk, ours: [4], peer, budget }),
    makeRow({ ...bulk, metric: 'perf-Y', ours: [9], peer, budget }),
  ]);
  const [head = '', missed = '', met = ''] = text.split('\n');
  t.regex(head, /^metric +ours +peer +ratio +must +aim +spread$/);
  t.regex(
    missed,
    /^perf-X bulk +4\.00 Gb\/s +5\.00 +nginx +0\.80x +1\.00x +1\.20x +0\.0 % +MISSED$/,
  );
  t.regex(met, / aim$/);
});

test('values are shown with three digits that count', (t) => {
  t.deepEqual([1.234, 12.34, 123.4, 1234, 12_345.6, NaN].map(formatValue), [
    ...['1.23', '12.3', '123', '1234', '12,346', '-'],
  ]);
});
