import { appendFileSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { TemporaryFolder } from '../../support/temporary-folder.ts';
import { configMapYaml as map, WatchedFolders } from '../support/watched-folders.ts';

test('a folder source brings a tree, then what changes in it', async (t) => {
  using folder = new TemporaryFolder();
  const at = (name: string): string => join(folder.path, name);
  mkdirSync(at('deep/er'), { recursive: true });
  writeFileSync(at('one.yaml'), map('one'));
  writeFileSync(at('deep/er/two.yml'), map('two'));
  writeFileSync(
    at('deep/three.json'),
    JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'three' } }),
  );
  writeFileSync(at('readme.md'), 'not this');
  writeFileSync(at('.hidden.yaml'), map('hidden'));
  await using watched = await new WatchedFolders([folder.path]).start();
  t.deepEqual(await watched.change(), ['+one=a', '+three=', '+two=a']);

  writeFileSync(at('one.yaml'), map('one', 'b'));
  t.deepEqual(await watched.change(), ['+one=b']);
  writeFileSync(at('deep/er/new.yaml'), map('new'));
  t.deepEqual(await watched.change(), ['+new=a']);
  rmSync(at('one.yaml'));
  t.deepEqual(await watched.change(), ['-one']);
});

test('folders that appear, move and go take their objects with them', async (t) => {
  using folder = new TemporaryFolder();
  using elsewhere = new TemporaryFolder();
  await using watched = await new WatchedFolders([folder.path]).start();
  mkdirSync(join(elsewhere.path, 'a/b'), { recursive: true });
  writeFileSync(join(elsewhere.path, 'a/b/one.yaml'), map('one'));
  renameSync(join(elsewhere.path, 'a'), join(folder.path, 'a'));
  t.deepEqual(await watched.change(), ['+one=a']);
  // The folder that came is watched too.
  writeFileSync(join(folder.path, 'a/b/two.yaml'), map('two'));
  t.deepEqual(await watched.change(), ['+two=a']);
  renameSync(join(folder.path, 'a'), join(elsewhere.path, 'away'));
  t.deepEqual(await watched.change(), ['-one', '-two']);
});

test('an error names file, line and field; the last good version stays in force', async (t) => {
  using folder = new TemporaryFolder();
  const file = join(folder.path, 'one.yaml');
  writeFileSync(file, map('one'));
  await using watched = await new WatchedFolders([folder.path]).start();
  t.deepEqual(await watched.change(), ['+one=a']);
  writeFileSync(file, map('one', '"not good"'));
  t.regex(
    (await watched.problems()).join(),
    /one\.yaml:3:\d+: error: ConfigMap default\/one: metadata\.labels\.v/,
  );
  writeFileSync(file, map('one', 'b'));
  t.deepEqual(await watched.change(), ['+one=b']);
  t.deepEqual(await watched.problems(), []);
});

test('a file that is written in pieces is taken whole', async (t) => {
  using folder = new TemporaryFolder();
  const file = join(folder.path, 'one.yaml');
  await using watched = await new WatchedFolders([folder.path]).start();
  const text = Array.from({ length: 50 }, (_, n) => `${map(`n${n}`)}---\n`).join('');
  writeFileSync(file, '');
  for (let from = 0; from < text.length; from += 500)
    appendFileSync(file, text.slice(from, from + 500));
  t.is((await watched.change()).length, 50);
});

test('files that are only ever replaced whole need no rest', async (t) => {
  using folder = new TemporaryFolder();
  const file = join(folder.path, 'one.yaml');
  const replace = (text: string): void => {
    writeFileSync(join(folder.path, '.one.yaml.new'), text);
    renameSync(join(folder.path, '.one.yaml.new'), file);
  };
  replace(map('one'));
  await using watched = await new WatchedFolders([folder.path], { quietMs: 0 }).start();
  t.deepEqual(await watched.change(), ['+one=a']);
  // One that has to rest is read after a tenth of a second, since it never does.
  let replaced = 0;
  const writer = setInterval(() => {
    replace(map('one', `v${++replaced}`));
  }, 2);
  const [first = ''] = await watched.change();
  clearInterval(writer);
  t.true(Number(/^\+one=v(\d+)$/.exec(first)?.[1]) < 20);
  replace(map('one', 'last'));
  for (;;) if ((await watched.change()).includes('+one=last')) break;
  t.deepEqual(watched.troubles, []);
});

test('several folders are one source, in which the first wins', async (t) => {
  using user = new TemporaryFolder();
  using system = new TemporaryFolder();
  writeFileSync(join(system.path, 'a.yaml'), map('one', 'system'));
  writeFileSync(join(user.path, 'z.yaml'), map('one', 'user'));
  await using watched = await new WatchedFolders([user.path, system.path]).start();
  t.deepEqual(await watched.change(), ['+one=user']);
  t.regex(
    (await watched.problems()).join(),
    /a\.yaml:1:1: error: .*stands in several files; the one of .*z\.yaml:1 is used/,
  );
});

test('refresh() resolves when what was written before it has been delivered', async (t) => {
  using folder = new TemporaryFolder();
  await using watched = await new WatchedFolders([folder.path]).start();
  for (let n = 0; n < 5; n++) {
    writeFileSync(join(folder.path, `n${n}.yaml`), map(`n${n}`));
    await watched.source.refresh();
    t.false(watched.quiet);
    t.deepEqual(await watched.change(), [`+n${n}=a`]);
  }
});

test('a folder that is not there yet is found by the next look', async (t) => {
  using folder = new TemporaryFolder();
  const later = join(folder.path, 'later');
  await using watched = await new WatchedFolders([later], { rescanMs: 20 }).start();
  // Whoever still has objects of it must not be told that they are gone.
  t.false(watched.complete);
  t.regex(
    (await watched.problems()).join(),
    /later: error: cannot be looked at: it does not exist/,
  );
  mkdirSync(later);
  writeFileSync(join(later, 'one.yaml'), map('one'));
  t.deepEqual(await watched.change(), ['+one=a']);
  t.deepEqual(watched.troubles, []);
  t.true(watched.complete);
});

test('links to folders are not followed, and a circle of them does no harm', async (t) => {
  using folder = new TemporaryFolder();
  symlinkSync(folder.path, join(folder.path, 'circle'));
  writeFileSync(join(folder.path, 'one.yaml'), map('one'));
  symlinkSync(join(folder.path, 'one.yaml'), join(folder.path, 'zlink.yaml'));
  await using watched = await new WatchedFolders([folder.path]).start();
  t.deepEqual(await watched.change(), ['+one=a']);
  t.regex((await watched.problems()).join(), /zlink\.yaml.*stands in several files/);
});
