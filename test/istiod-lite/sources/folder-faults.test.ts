import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { LastGoodDatabase } from '../../../istiod-lite/sources/last-good.ts';
import { TemporaryFolder } from '../../support/temporary-folder.ts';
import { TurnMeter } from '../../support/turns.ts';
import { configMapYaml as map, WatchedFolders } from '../support/watched-folders.ts';

/** Configuration, and where the source keeps what must outlive it. */
class Home extends TemporaryFolder {
  readonly config = join(this.path, 'config');
  #database: LastGoodDatabase | undefined;

  constructor() {
    super();
    mkdirSync(this.config);
  }

  file(name: string): string {
    return join(this.config, name);
  }

  write(name: string, text: string): void {
    writeFileSync(this.file(name), text);
  }

  /** A life of the source, until it is disposed of. */
  async live(): Promise<WatchedFolders> {
    this.#database?.[Symbol.dispose]();
    this.#database = new LastGoodDatabase(join(this.path, 'last-good.db'), {
      onTrouble: (message) => {
        throw new Error(message);
      },
    });
    return new WatchedFolders([this.config], { lastGood: this.#database, rescanMs: 20 }).start();
  }

  override [Symbol.dispose](): void {
    this.#database?.[Symbol.dispose]();
    super[Symbol.dispose]();
  }
}

test('the last good version of a broken file survives a restart, with the same error', async (t) => {
  using home = new Home();
  home.write('a.yaml', `${map('one', 'good')}---\n${map('two', 'old')}`);
  let problems: string[];
  {
    await using life = await home.live();
    t.deepEqual(await life.change(), ['+one=good', '+two=old']);
    // Of one file one object is replaced and the other one broken.
    home.write('a.yaml', `${map('one', '"not good"')}---\n${map('two', 'new')}`);
    t.deepEqual(await life.change(), ['+two=new']);
    problems = await life.problems();
    t.is(problems.length, 1);
  }
  for (let restart = 0; restart < 2; restart++) {
    await using life = await home.live();
    t.deepEqual(await life.change(), ['+one=good', '+two=new']);
    t.deepEqual(await life.problems(), problems);
    t.true(life.complete);
  }
  await using life = await home.live();
  home.write('a.yaml', map('two', 'mended'));
  t.deepEqual(await life.change(), ['+one=good', '+two=new']);
  t.deepEqual(await life.change(), ['+two=mended']);
  t.deepEqual(await life.change(), ['-one'], 'what the mended file does not have is gone');
});

test('a file that is broken while nobody looks keeps what it had', async (t) => {
  using home = new Home();
  home.write('a.yaml', map('one', 'good'));
  home.write('b.yaml', map('two', 'good'));
  home.write('c.yaml', map('three', 'good'));
  await using first = await home.live();
  t.is((await first.change()).length, 3);
  await first[Symbol.asyncDispose]();
  home.write('a.yaml', 'kind: [');
  rmSync(home.file('b.yaml'));
  home.write('c.yaml', map('three', 'newer'));
  await using second = await home.live();
  t.deepEqual(await second.change(), ['+one=good', '+three=newer'], 'and what was deleted is gone');
  await second[Symbol.asyncDispose]();
  await using third = await home.live();
  t.deepEqual(await third.change(), ['+one=good', '+three=newer']);
});

test('a folder in the place of a file, or of the whole configuration nothing, takes nothing away', async (t) => {
  using home = new Home();
  home.write('a.yaml', map('one'));
  {
    await using life = await home.live();
    t.deepEqual(await life.change(), ['+one=a']);
    rmSync(home.file('a.yaml'));
    mkdirSync(home.file('a.yaml'));
    t.regex((await life.problems()).join(), /a\.yaml: error: is a folder now/);
    t.true(life.quiet);
  }
  {
    await using life = await home.live();
    t.deepEqual(await life.change(), ['+one=a']);
    t.regex((await life.problems()).join(), /a\.yaml: error: is a folder now/);
    renameSync(home.config, `${home.config}-away`);
    t.regex(
      (await life.problems()).join(),
      /config: error: cannot be looked at: it does not exist/,
    );
    t.true(life.quiet);
  }
  await using life = await home.live();
  t.true(life.complete, 'all of it is known from an earlier life');
  t.deepEqual(await life.change(), ['+one=a']);
  mkdirSync(home.config);
  home.write('b.yaml', map('two'));
  t.deepEqual(await life.change(), ['+two=a', '-one'], 'a folder that is there and empty is meant');
});

test('a picture is not whole until every folder has been there', async (t) => {
  using home = new Home();
  rmSync(home.config, { recursive: true });
  await using life = await home.live();
  t.false(life.complete);
  mkdirSync(home.config);
  home.write('a.yaml', map('one'));
  await life.whole();
  t.deepEqual(await life.change(), ['+one=a']);
  t.deepEqual(await life.problems(), []);
});

test('a file that is cut and then written loses nothing in between', async (t) => {
  using home = new Home();
  const whole = `${map('one')}---\n${map('two')}`;
  home.write('a.yaml', whole);
  await using life = await home.live();
  t.deepEqual(await life.change(), ['+one=a', '+two=a']);
  home.write('a.yaml', '');
  await delay(60); // longer than the time in which writes are joined
  home.write('a.yaml', `${map('one')}---\n`);
  await delay(60);
  home.write('a.yaml', whole.replaceAll('v: a', 'v: b'));
  t.deepEqual(await life.change(), ['+one=b', '+two=b'], 'the same as before is no change');
  home.write('a.yaml', map('two', 'b'));
  t.deepEqual(await life.change(), ['-one'], 'what stays away is gone');
  home.write('a.yaml', '');
  await life.source.refresh();
  t.deepEqual(await life.change(), ['-two'], 'and refresh() waits for it');
});

test('a file that is replaced again and again is never seen half', async (t) => {
  using home = new Home();
  const text = (label: string): string =>
    Array.from({ length: 200 }, (_, n) => `${map(`n${n}`, label)}---\n`).join('');
  home.write('a.yaml', text('v0'));
  await using life = await home.live();
  t.is((await life.change()).length, 200);
  for (let round = 1; round <= 20; round++) {
    home.write('.next', text(`v${round}`));
    renameSync(home.file('.next'), home.file('a.yaml'));
    await delay(3);
  }
  for (;;) {
    const names = await life.change();
    const labels = new Set(names.map((name) => name.split('=')[1]));
    t.is(names.length, 200);
    t.is(labels.size, 1);
    if (labels.has('v20')) break;
  }
});

test('5,000 files are read while others have the thread, and a restart finds them all', async (t) => {
  using home = new Home();
  for (let n = 0; n < 5000; n++) home.write(`n${n}.yaml`, map(`n${n}`));
  using turns = new TurnMeter();
  {
    await using life = await home.live();
    t.is((await life.change()).length, 5000);
  }
  t.true(turns.longestMs < 200, `${turns.longestMs} ms`); // the last turn delivers them all
  renameSync(home.config, `${home.config}-away`);
  await using life = await home.live();
  t.is((await life.change()).length, 5000);
});

const READER = resolve(import.meta.dirname, '../support/folder-reader.ts');
/** Nobody's number, where a test runs as root, whom no mode holds back. */
const ORDINARY_USER = 65_534;

test('what an ordinary user may not read stays as it was, and is not taken for gone', async (t) => {
  using home = new Home();
  home.write('a.yaml', map('one'));
  mkdirSync(home.file('sub'));
  home.write('sub/b.yaml', map('two'));
  chmodSync(home.path, 0o755);
  const asOther = process.getuid?.() === 0;
  const child = spawn(process.execPath, [...process.execArgv, READER, home.config], {
    ...{ stdio: ['pipe', 'pipe', 'inherit'], cwd: '/' },
    ...(asOther ? { uid: ORDINARY_USER, gid: ORDINARY_USER } : {}),
  });
  t.teardown(() => child.kill('SIGKILL'));
  let output = '';
  const ask = async (): Promise<unknown> => {
    child.stdin.write('look\n');
    while (!output.includes('\n')) output += String((await once(child.stdout, 'data'))[0]);
    const [line = '', ...rest] = output.split('\n');
    output = rest.join('\n');
    return JSON.parse(line);
  };
  const names = ['one', 'two'];
  t.like(await ask(), { names, complete: true, problems: [] });
  chmodSync(home.file('sub'), 0);
  t.like(await ask(), { names, problems: [`${home.file('sub')}: error`] });
  chmodSync(home.file('sub'), asOther ? 0o744 : 0o400); // may be listed, not entered
  t.like(await ask(), { names, problems: [`${home.file('sub/b.yaml')}: error`] });
  chmodSync(home.file('sub'), 0o755);
  // Another file with a mode of its own: the same one is not read again.
  rmSync(home.file('a.yaml'));
  writeFileSync(home.file('a.yaml'), map('one', 'b'), { mode: 0 });
  t.like(await ask(), { names, problems: [`${home.file('a.yaml')}: error`] });
  chmodSync(home.file('a.yaml'), 0o644);
  t.like(await ask(), { names, problems: [] });
  rmSync(home.file('a.yaml'));
  t.like(await ask(), { names: ['two'], problems: [] });
  // And from the beginning on: nothing is told until it could be read.
  chmodSync(home.file('sub'), 0);
  child.stdin.write('again\n');
  t.like(await ask(), { names: [], complete: false });
  chmodSync(home.file('sub'), 0o755);
  t.like(await ask(), { names: ['two'], complete: true });
  t.truthy(readFileSync(home.file('sub/b.yaml')));
});
