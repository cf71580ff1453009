import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { readManifests } from '../../cli/manifests.ts';
import { TemporaryFolder } from '../support/temporary-folder.ts';

test('readManifests() reads files, and what is YAML below folders, by name', async (t) => {
  using folder = new TemporaryFolder();
  mkdirSync(join(folder.path, 'deep/er'), { recursive: true });
  mkdirSync(join(folder.path, '.git'));
  for (const name of ['b.yaml', 'a.yml', 'deep/er/c.json', 'notes.txt', '.git/d.yaml'])
    writeFileSync(join(folder.path, name), name);
  const notes = join(folder.path, 'notes.txt');
  const manifests = await readManifests([notes, folder.path]);
  t.deepEqual(
    manifests.map(({ text }) => text),
    ['notes.txt', 'a.yml', 'b.yaml', 'deep/er/c.json'],
  );
  t.is(manifests[0]?.source, notes);
});

test('readManifests() says what it cannot read', async (t) => {
  using folder = new TemporaryFolder();
  await t.throwsAsync(readManifests([join(folder.path, 'none.yaml')]), {
    code: 'ERR_MANIFEST',
    message: /^Cannot read .*none\.yaml$/,
  });
  await t.throwsAsync(readManifests([folder.path]), { message: /no YAML file in it$/ });
});
