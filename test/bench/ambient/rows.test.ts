import test from 'ava';
import { rowsOf, valuesOf } from '../../../bench/ambient/rows.ts';
import { sample } from './support/samples.ts';

const samples = [
  sample('none', 1, { p99Us: 200 }),
  sample('none', 0, { p99Us: 100 }),
  sample('ambient', 0, { p99Us: 150, memoryMb: 10 }),
  sample('ambient', 1, { p99Us: 270, memoryMb: 12 }),
  sample('sidecar-envoy', 0, { p99Us: 300, memoryMb: 100 }),
  sample('sidecar-envoy', 1, { p99Us: 340, memoryMb: 100 }),
];

test('what is above none is told apart from none of the same repetition', (t) => {
  t.deepEqual(valuesOf(samples, 'ambient', 'p99Us', true), [50, 70]);
  t.deepEqual(valuesOf(samples, 'ambient', 'p99Us'), [150, 270]);
});

test('ambient at 100 pods is judged against sidecars, where the run may judge', (t) => {
  const row = rowsOf(samples, true).find(({ metric }) =>
    metric.endsWith('memory of the data plane'),
  );
  t.like(row, { ours: 11, peer: 100, peerName: 'sidecar-envoy', must: 0.2, meetsMust: true });
  const p99 = rowsOf(samples, true).find(({ metric }) => metric.endsWith('p99 above none'));
  t.like(p99, { ours: 60, peer: 170, meetsMust: true });
});

test('neither other sizes nor other modes nor quick runs are judged', (t) => {
  t.true(rowsOf(samples, false).every(({ must }) => must === null));
  const small = samples.map((one) => ({ ...one, pods: 30 }));
  t.true(rowsOf(small, true).every(({ must }) => must === null));
  const more = [...samples, sample('ambient+10%', 0, { memoryMb: 20 })];
  const rows = rowsOf(more, true).filter(({ metric }) => metric.startsWith('ambient+10%'));
  t.true(rows.length > 0 && rows.every(({ must }) => must === null));
});

test('against our own sidecars every figure of the modes that the goals name has to be better', (t) => {
  const ours = [0, 1].map((repetition) =>
    sample('sidecar', repetition, { p99Us: 250 + repetition * 100, memoryMb: 10 }),
  );
  const l7 = sample('ambient+10%', 0, { p99Us: 140, memoryMb: 9 });
  const rows = rowsOf([...samples, ...ours, l7, { ...l7, mode: 'ambient+100%' }], true);
  const find = (metric: string): unknown => rows.find((row) => row.metric === metric);
  t.like(find('ambient against sidecar, 100 pods: memory of the data plane'), {
    ...{ ours: 11, peer: 10, peerName: 'sidecar', must: 1, meetsMust: false },
  });
  t.like(find('ambient against sidecar, 100 pods: p99 above none'), { must: 1, meetsMust: true });
  t.like(find('ambient+10% against sidecar, 100 pods: memory of the data plane'), {
    ...{ must: 1, meetsMust: true },
  });
  t.like(find('ambient+100% against sidecar, 100 pods: p99 above none'), { must: null });
  t.like(find('sidecar, 100 pods: memory of the data plane'), {
    ...{ ours: 10, peer: 100, peerName: 'sidecar-envoy', must: null },
  });
  t.is(find('sidecar, 100 pods: memory of control plane and node agents'), undefined);
});

test('what only some plans measure has rows only there', (t) => {
  const titles = (of: typeof samples): string[] => rowsOf(of, true).map(({ metric }) => metric);
  t.false(titles(samples).some((title) => title.includes('highest rate')));
  const more = samples.map((one) => ({
    ...one,
    values: { ...one.values, 'highest.callsPerSecond': one.mode === 'ambient' ? 9000 : 5000 },
  }));
  const row = rowsOf(more, true).find(({ metric }) => metric.endsWith('highest rate'));
  t.like(row, { ours: 9000, peer: 5000, better: 'higher' });
});

test('sizes do not mix', (t) => {
  const both = [...samples, ...samples.map((one) => ({ ...one, pods: 30 }))];
  const memory = rowsOf(both, true).filter(({ metric }) => metric.endsWith('of the data plane'));
  t.deepEqual(
    memory.map(({ metric, rounds }) => [metric, rounds.ours.length]),
    [
      ['ambient, 100 pods: memory of the data plane', 2],
      ['ambient, 30 pods: memory of the data plane', 2],
    ],
  );
});
