import { join } from 'node:path';
import test from 'ava';
import { compareRuns, formatChanges } from '../../bench/harness/compare.ts';
import { readResults, writeResults, type Results } from '../../bench/harness/results.ts';
import { makeRow, type RowParts } from '../../bench/harness/rows.ts';
import { runProgram } from '../support/run-program.ts';
import { TemporaryFolder } from '../support/temporary-folder.ts';

const BENCH = join(import.meta.dirname, '../../bench/main.ts');

function run(...rows: readonly Partial<RowParts>[]): Results {
  const plan = { metric: 'rate', unit: '1/s', better: 'higher', ours: [] } as const;
  return {
    ...{ benchmark: 'l4', startedAt: '2026-01-01T00:00:00Z', quiet: true, settings: {} },
    ...{ rows: rows.map((row) => makeRow({ ...plan, ...row })), failures: [] },
    environment: {
      ...{ cpu: '', cpus: 2, memoryGiB: 8, kernel: '', system: '', node: '', openssl: '' },
      congestionControl: '',
      ...{ commit: '', versions: {} },
    },
  };
}

const slow = [100, 101, 102, 103, 104];
const fast = slow.map((value) => value + 20);

test('a difference beyond the rounds of both runs is told, with its direction', (t) => {
  const better = compareRuns(run({ ours: slow }), run({ ours: fast }));
  t.like(better[0], { metric: 'rate', before: 102, after: 122, verdict: 'better' });
  t.is(compareRuns(run({ ours: fast }), run({ ours: slow }))[0]?.verdict, 'worse');
  const lower = { better: 'lower', ours: fast } as const;
  t.is(compareRuns(run({ ...lower, ours: slow }), run(lower))[0]?.verdict, 'worse');
});

test('what lies within the noise is the same', (t) => {
  const other = [99, 101.5, 102.5, 103.5, 100.5];
  t.is(compareRuns(run({ ours: slow }), run({ ours: other }))[0]?.verdict, 'same');
});

test('three rounds prove nothing', (t) => {
  const few = { ours: slow.slice(0, 3) };
  t.is(compareRuns(run(few), run({ ours: fast }))[0]?.verdict, 'too few rounds');
});

test('rows with a peer are compared by their ratio, so that a slower machine is no change', (t) => {
  const peer = { name: 'nginx', values: slow.map((value) => value * 2) };
  const slower = { name: 'nginx', values: peer.values.map((value) => value / 2) };
  const halved = slow.map((value) => value / 2);
  const [change] = compareRuns(run({ ours: slow, peer }), run({ ours: halved, peer: slower }));
  t.like(change, { verdict: 'same', before: 0.5, after: 0.5, unit: 'x nginx' });
});

test('rows that only one run has are left out', (t) => {
  t.deepEqual(compareRuns(run({ metric: 'a' }), run({ metric: 'b' })), []);
});

test('the comparison is a table, and the command fails when something is worse', async (t) => {
  t.regex(
    formatChanges(compareRuns(run({ ours: slow }), run({ ours: fast }))),
    /^rate +102 1\/s +122 1\/s +\+19\.6 % +0\.008 +better$/m,
  );
  using folder = new TemporaryFolder();
  const [before, after] = [join(folder.path, 'a.json'), join(folder.path, 'b.json')];
  writeResults(before, run({ ours: fast }));
  writeResults(after, run({ ours: slow }));
  t.is(readResults(after).rows[0]?.ours, 102);
  const compare = (...files: string[]): ReturnType<typeof runProgram> =>
    runProgram(process.execPath, [BENCH, 'compare', ...files]);
  t.like(await compare(before, after), { code: 1 });
  t.like(await compare(after, before), { code: 0 });
  const missing = await compare(before, join(folder.path, 'none.json'));
  t.is(missing.code, 1);
  t.regex(missing.stderr, /Cannot read the results of a run in .*none\.json/);
});

test('a benchmark that does not exist is a mistake of its caller', async (t) => {
  const { code, stderr } = await runProgram(process.execPath, [BENCH, 'l5']);
  t.is(code, 2);
  t.regex(stderr, /^usage: npm run bench -- l4/m);
});
