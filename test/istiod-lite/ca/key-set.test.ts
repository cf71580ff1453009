import { mkdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { KeySetFile } from '../../../istiod-lite/ca/key-set.ts';
import { TemporaryFolder } from '../../support/temporary-folder.ts';
import { makeTokenIssuer } from '../../support/tokens.ts';

function open(path: string): { keys: KeySetFile; problems: string[]; clock: { now: number } } {
  const problems: string[] = [];
  const clock = { now: 0 };
  const keys = new KeySetFile(
    path,
    ({ message }) => problems.push(message),
    () => clock.now,
  );
  return { keys, problems, clock };
}

test('a folder in the place of the key set leaves the last good keys in force until there are new ones', async (t) => {
  using folder = new TemporaryFolder();
  const path = join(folder.path, 'keys.json');
  await makeTokenIssuer().writeKeySet(path);
  const { keys, problems } = open(path);
  const first = keys.current();
  rmSync(path);
  mkdirSync(path);
  t.is(keys.current(), first);
  t.is(keys.current(), first);
  t.is(problems.length, 1);
  rmSync(path, { recursive: true });
  t.is(keys.current(), first);
  await makeTokenIssuer('key-2').writeKeySet(path);
  t.not(keys.current(), first);
});

test('a key set that could not be read is tried again, though its file looks the same', async (t) => {
  using folder = new TemporaryFolder();
  const path = join(folder.path, 'keys.json');
  await makeTokenIssuer().writeKeySet(path);
  const good = statSync(path);
  writeFileSync(path, 'x'.repeat(good.size));
  utimesSync(path, 1, 1);
  const { keys, problems, clock } = open(path);
  t.throws(() => keys.current(), { code: 'ERR_KEY_SET' });
  // Same inode, size and time: as when a disk or a table of descriptors recovers.
  writeFileSync(path, JSON.stringify({ keys: [] }).padEnd(good.size));
  utimesSync(path, 1, 1);
  t.throws(() => keys.current(), { code: 'ERR_KEY_SET' });
  clock.now = 1000;
  t.truthy(keys.current());
  t.is(problems.length, 1);
});
