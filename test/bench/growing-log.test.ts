import { appendFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { GrowingLog } from '../../bench/l4/pods-added.ts';
import { TemporaryFolder } from '../support/temporary-folder.ts';

test('what a log gets is seen whole, also when it was put aside meanwhile', (t) => {
  using folder = new TemporaryFolder();
  const path = join(folder.path, 'log');
  writeFileSync(path, 'before\n');
  const log = new GrowingLog(path);
  t.is(log.added(), '');
  appendFileSync(path, 'one\ntw');
  t.is(log.added(), 'one\n');
  appendFileSync(path, 'o\nthree\n');
  renameSync(path, `${path}.1`);
  writeFileSync(path, 'four\n');
  t.is(log.added(), 'two\nthree\nfour\n');
  t.is(log.added(), '');
});
