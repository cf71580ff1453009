import { readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { LastGoodDatabase } from '../../../istiod-lite/sources/last-good.ts';
import { TemporaryFolder } from '../../support/temporary-folder.ts';

function open(path: string, maxBytes?: number): LastGoodDatabase & { troubles: string[] } {
  const troubles: string[] = [];
  const database = new LastGoodDatabase(path, {
    onTrouble: (message) => troubles.push(message),
    ...(maxBytes === undefined ? {} : { maxBytes }),
  });
  return Object.assign(database, { troubles });
}

test('last good versions outlive the process, for their owner alone', (t) => {
  using folder = new TemporaryFolder();
  const path = join(folder.path, 'last-good.db');
  {
    using database = open(path);
    database.keep('/a.yaml', 'one');
    database.keep('/a.yaml', 'two');
    database.keep('/b.yaml', 'b');
    t.is(database.textOf('/a.yaml'), 'two', 'also before it is written');
    database.commit();
    database.forget('/b.yaml');
    t.is(database.textOf('/b.yaml'), undefined);
    for (const name of readdirSync(folder.path))
      t.is(statSync(join(folder.path, name)).mode & 0o777, 0o600, name);
  }
  using again = open(path);
  t.deepEqual(again.files(), ['/a.yaml']);
  t.is(again.textOf('/a.yaml'), 'two');
  t.deepEqual(again.troubles, []);
});

test('what does not fit is named, and what is there stays', (t) => {
  using folder = new TemporaryFolder();
  using database = open(join(folder.path, 'last-good.db'), 10);
  database.keep('/a.yaml', '12345');
  database.keep('/b.yaml', '123456');
  database.commit();
  t.deepEqual(database.files(), ['/a.yaml']);
  t.regex(database.troubles.join(), /Cannot keep the last good version of \/b\.yaml: 10 bytes/);
  database.forget('/a.yaml');
  database.keep('/b.yaml', '123456');
  database.commit();
  t.deepEqual(database.files(), ['/b.yaml'], 'the place of what was forgotten is free');
});

test('a database that is none is put aside, and said so', (t) => {
  using folder = new TemporaryFolder();
  const path = join(folder.path, 'last-good.db');
  writeFileSync(path, 'x'.repeat(4096));
  using database = open(path);
  t.regex(
    database.troubles.join(),
    /not a database; last good versions of an earlier life are lost/,
  );
  t.true(readdirSync(folder.path).includes('last-good.db.broken'));
  database.keep('/a.yaml', 'one');
  database.commit();
  t.deepEqual(database.files(), ['/a.yaml']);
});
